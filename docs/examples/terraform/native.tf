resource "aws_apigatewayv2_api" "customers" {
  name          = "customers"
  protocol_type = "HTTP"
}

data "aws_lambda_function" "customers" {
  function_name = "customers"
}

module "native_guard" {
  source = "../../../infra/terraform/native_guard"

  plan               = "plan.json"
  api_id             = aws_apigatewayv2_api.customers.id
  backend_invoke_arn = data.aws_lambda_function.customers.invoke_arn
}

resource "aws_api_gateway_rest_api" "orders" {
  name = "orders"
}

module "rest_guard" {
  source = "../../../infra/terraform/native_guard"

  plan             = "rest-plan.json"
  stack_name       = "orders-guard"
  rest_api_id      = aws_api_gateway_rest_api.orders.id
  root_resource_id = aws_api_gateway_rest_api.orders.root_resource_id
  backend_arn      = data.aws_lambda_function.customers.arn
}

resource "aws_api_gateway_deployment" "orders" {
  rest_api_id = aws_api_gateway_rest_api.orders.id
  triggers    = { guard = module.rest_guard.redeployment }

  lifecycle {
    create_before_destroy = true
  }
}
