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
