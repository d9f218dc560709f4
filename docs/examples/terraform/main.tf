resource "aws_api_gateway_rest_api" "customers" {
  name = "customers"
}

module "authorizer" {
  source = "../../../infra/terraform/authorizer"

  name                   = "customers-authorizer"
  artifact               = "../../../.gatehouse/dist/gatehouse-authorizer-0.1.0-python3.13-arm64.zip"
  rest_api_id            = aws_api_gateway_rest_api.customers.id
  rest_api_execution_arn = aws_api_gateway_rest_api.customers.execution_arn

  issuer   = "https://auth.example.com/ms-auth-server"
  audience = ["https://customer.example"]
  scopes = {
    "customer.read"  = ["GET /customers", "GET /customers/{id}"]
    "customer.write" = ["POST /customers"]
  }
}

resource "aws_api_gateway_resource" "customers" {
  rest_api_id = aws_api_gateway_rest_api.customers.id
  parent_id   = aws_api_gateway_rest_api.customers.root_resource_id
  path_part   = "customers"
}

resource "aws_api_gateway_method" "list" {
  rest_api_id   = aws_api_gateway_rest_api.customers.id
  resource_id   = aws_api_gateway_resource.customers.id
  http_method   = "GET"
  authorization = "CUSTOM"
  authorizer_id = module.authorizer.authorizer_id
}
