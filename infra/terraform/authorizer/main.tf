# The Lambda authorizer from its built artifact, and the REST API's authorizer and gateway responses.
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

data "aws_region" "current" {}

resource "aws_cloudwatch_log_group" "authorizer" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
}

data "aws_iam_policy_document" "by_lambda" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

# The statements of AuthorizerRole in template.yaml.
data "aws_iam_policy_document" "calls" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.authorizer.arn}:*"]
  }

  # X-Ray has no resources.
  statement {
    actions   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
    resources = ["*"]
  }

  dynamic "statement" {
    for_each = var.introspection_secret_arn == "" ? [] : [var.introspection_secret_arn]
    content {
      actions   = ["secretsmanager:GetSecretValue"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.check_revoked_tokens ? [var.state_table_arn] : []
    content {
      actions   = ["dynamodb:GetItem"]
      resources = [statement.value]
      condition {
        test     = "ForAllValues:StringLike"
        variable = "dynamodb:LeadingKeys"
        values   = ["revoked#*"]
      }
    }
  }

  dynamic "statement" {
    for_each = local.uses_dpop ? [var.state_table_arn] : []
    content {
      actions   = ["dynamodb:PutItem"]
      resources = [statement.value]
      condition {
        test     = "ForAllValues:StringLike"
        variable = "dynamodb:LeadingKeys"
        values   = ["proof#*"]
      }
    }
  }

  dynamic "statement" {
    for_each = var.data_key_arn != "" && var.introspection_secret_arn != "" ? [var.data_key_arn] : []
    content {
      actions   = ["kms:Decrypt"]
      resources = [statement.value]
      condition {
        test     = "StringLike"
        variable = "kms:ViaService"
        values   = ["secretsmanager.${data.aws_region.current.region}.amazonaws.com*"]
      }
    }
  }

  dynamic "statement" {
    for_each = var.data_key_arn != "" && local.uses_state_table ? [var.data_key_arn] : []
    content {
      actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
      resources = [statement.value]
      condition {
        test     = "StringLike"
        variable = "kms:ViaService"
        values   = ["dynamodb.${data.aws_region.current.region}.amazonaws.com*"]
      }
    }
  }
}

resource "aws_iam_role" "authorizer" {
  name               = var.name
  assume_role_policy = data.aws_iam_policy_document.by_lambda.json
}

resource "aws_iam_role_policy" "calls" {
  name   = "calls"
  role   = aws_iam_role.authorizer.id
  policy = data.aws_iam_policy_document.calls.json
}

resource "aws_lambda_function" "authorizer" {
  function_name    = var.name
  role             = aws_iam_role.authorizer.arn
  filename         = var.artifact
  source_code_hash = filebase64sha256(var.artifact)
  handler          = "authorizer.handler.handle"
  runtime          = var.runtime
  architectures    = [var.architecture]
  memory_size      = var.memory_size
  timeout          = 15

  environment {
    variables = local.environment
  }

  logging_config {
    log_format            = "JSON"
    application_log_level = "INFO"
    system_log_level      = "WARN"
    log_group             = aws_cloudwatch_log_group.authorizer.name
  }

  tracing_config {
    mode = "PassThrough"
  }

  depends_on = [aws_iam_role_policy.calls]
}

resource "aws_api_gateway_authorizer" "tokens" {
  name                             = var.name
  rest_api_id                      = var.rest_api_id
  type                             = "REQUEST"
  identity_source                  = "method.request.header.Authorization"
  authorizer_uri                   = aws_lambda_function.authorizer.invoke_arn
  authorizer_result_ttl_in_seconds = var.cache_seconds
}

resource "aws_lambda_permission" "api" {
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.authorizer.function_name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${var.rest_api_execution_arn}/authorizers/${aws_api_gateway_authorizer.tokens.id}"
}

resource "aws_api_gateway_gateway_response" "errors" {
  for_each            = local.gateway_responses
  rest_api_id         = var.rest_api_id
  response_type       = each.key
  status_code         = each.value.status
  response_parameters = each.value.headers
  response_templates  = { "application/json" = each.value.body }
}

output "authorizer_id" {
  description = "The authorizer_id of the API's methods, whose authorization is CUSTOM."
  value       = aws_api_gateway_authorizer.tokens.id
}

output "redeployment" {
  description = "A text for the triggers of the API's deployment. It changes with the authorizer and the responses."
  value = sha1(jsonencode([
    aws_api_gateway_authorizer.tokens, aws_api_gateway_gateway_response.errors
  ]))
}
