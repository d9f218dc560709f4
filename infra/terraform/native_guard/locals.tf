locals {
  resources = jsondecode(file(var.plan)).Resources
  planned = {
    for type in ["ApiGatewayV2::Authorizer", "ApiGatewayV2::Integration", "ApiGatewayV2::Route", "ElasticLoadBalancingV2::ListenerRule"] :
    type => { for name, each in local.resources : name => each.Properties if each.Type == "AWS::${type}" }
  }

  # The provider has no JWT authorizers of REST APIs. CloudFormation creates them, with parameters for what a plan refers to.
  rest_resources = { for name, each in local.resources : name => each if startswith(each.Type, "AWS::ApiGateway::") }
  rest_templates = {
    for kind in ["rest"] : kind => replace(replace(
      jsonencode({
        Parameters = { for name in ["Api", "BackendArn", "RootResourceId"] : name => { Type = "String" } }
        Resources  = local.rest_resources
      }),
      "{\"Fn::GetAtt\":[\"Api\",\"RootResourceId\"]}", "{\"Ref\":\"RootResourceId\"}"),
    "$${Backend.Arn}", "$${BackendArn}") if length(local.rest_resources) > 0
  }
}
