# AWS's own JWT guards of a REST API, an HTTP API or a load balancer, from a plan of the command line:
#
#   gatehouse --json guard plan scopes.json --for http-jwt --issuer … --audience … --output plan.json
#
# The command refuses what a guard cannot express, and then writes no plan.
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.26"
    }
  }
}

resource "aws_apigatewayv2_authorizer" "jwt" {
  for_each         = local.planned["ApiGatewayV2::Authorizer"]
  api_id           = var.api_id
  name             = each.value.Name
  authorizer_type  = each.value.AuthorizerType
  identity_sources = each.value.IdentitySource

  jwt_configuration {
    issuer   = each.value.JwtConfiguration.Issuer
    audience = each.value.JwtConfiguration.Audience
  }
}

resource "aws_apigatewayv2_integration" "backend" {
  for_each               = local.planned["ApiGatewayV2::Integration"]
  api_id                 = var.api_id
  integration_type       = each.value.IntegrationType
  integration_uri        = var.backend_invoke_arn
  payload_format_version = each.value.PayloadFormatVersion
}

resource "aws_apigatewayv2_route" "guarded" {
  for_each             = local.planned["ApiGatewayV2::Route"]
  api_id               = var.api_id
  route_key            = each.value.RouteKey
  authorization_type   = each.value.AuthorizationType
  authorizer_id        = aws_apigatewayv2_authorizer.jwt[each.value.AuthorizerId.Ref].id
  authorization_scopes = each.value.AuthorizationScopes
  target               = "integrations/${one(values(aws_apigatewayv2_integration.backend)).id}"
}

resource "aws_lb_listener_rule" "guarded" {
  for_each     = local.planned["ElasticLoadBalancingV2::ListenerRule"]
  listener_arn = var.listener_arn
  priority     = each.value.Priority

  condition {
    http_request_method {
      values = each.value.Conditions[0].HttpRequestMethodConfig.Values
    }
  }

  condition {
    path_pattern {
      values       = try(each.value.Conditions[1].PathPatternConfig.Values, null)
      regex_values = try(each.value.Conditions[1].PathPatternConfig.RegexValues, null)
    }
  }

  action {
    type  = each.value.Actions[0].Type
    order = each.value.Actions[0].Order

    jwt_validation {
      issuer        = each.value.Actions[0].JwtValidationConfig.Issuer
      jwks_endpoint = each.value.Actions[0].JwtValidationConfig.JwksEndpoint

      dynamic "additional_claim" {
        for_each = each.value.Actions[0].JwtValidationConfig.AdditionalClaims
        content {
          format = additional_claim.value.Format
          name   = additional_claim.value.Name
          values = additional_claim.value.Values
        }
      }
    }
  }

  action {
    type             = each.value.Actions[1].Type
    order            = each.value.Actions[1].Order
    target_group_arn = var.target_group_arn
  }
}

resource "aws_cloudformation_stack" "rest" {
  for_each      = local.rest_templates
  name          = var.stack_name
  template_body = each.value

  parameters = {
    Api            = var.rest_api_id
    BackendArn     = var.backend_arn
    RootResourceId = var.root_resource_id
  }

  lifecycle {
    precondition {
      condition     = length(each.value) <= 51200
      error_message = "CloudFormation accepts a template of 51,200 bytes, and this plan needs more. Divide the scope map."
    }
  }
}

output "redeployment" {
  description = "A text for the triggers of a REST API's deployment. It changes with the plan."
  value       = sha1(jsonencode([local.rest_templates, [for each in aws_cloudformation_stack.rest : each.id]]))
}
