variable "plan" {
  description = "The path of the plan, as JSON."
  type        = string

  validation {
    condition = alltrue([
      for each in values(try(jsondecode(file(var.plan)).Resources, { none = { Type = "" } })) : each.Type == "AWS::ElasticLoadBalancingV2::ListenerRule" ||
      startswith(each.Type, "AWS::ApiGateway::") || startswith(each.Type, "AWS::ApiGatewayV2::")
    ])
    error_message = "The plan has to be for rest-jwt, http-jwt or alb."
  }
}

variable "api_id" {
  description = "The HTTP API of a plan for http-jwt."
  type        = string
  default     = null
}

variable "backend_invoke_arn" {
  description = "The invoke ARN of the function behind its routes."
  type        = string
  default     = null
}

variable "listener_arn" {
  description = "The HTTPS listener of a plan for alb. Its default action must not forward."
  type        = string
  default     = null
}

variable "target_group_arn" {
  description = "The target group of its rules."
  type        = string
  default     = null
}

variable "stack_name" {
  description = "The name of the CloudFormation stack with the resources of a plan for rest-jwt."
  type        = string
  default     = "native-guard"
}

variable "rest_api_id" {
  description = "The REST API of a plan for rest-jwt."
  type        = string
  default     = null
}

variable "root_resource_id" {
  description = "The root resource of this API."
  type        = string
  default     = null
}

variable "backend_arn" {
  description = "The ARN of the function behind its methods."
  type        = string
  default     = null
}
