locals {
  resources = jsondecode(file(var.plan)).Resources
  planned = {
    for type in ["ApiGatewayV2::Authorizer", "ApiGatewayV2::Integration", "ApiGatewayV2::Route", "ElasticLoadBalancingV2::ListenerRule"] :
    type => { for name, each in local.resources : name => each.Properties if each.Type == "AWS::${type}" }
  }
}
