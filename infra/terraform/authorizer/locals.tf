# The values that need no provider. tests/unit/infra/test_terraform.py evaluates them.
locals {
  uses_dpop        = contains(var.proof_of_possession, "dpop")
  uses_state_table = local.uses_dpop || var.check_revoked_tokens
  state_table      = try(split("/", var.state_table_arn)[1], "")

  environment = merge({
    STACK_NAME               = var.name
    ISSUER                   = var.issuer
    AUDIENCE                 = join(",", var.audience)
    ALGORITHMS               = join(",", var.algorithms)
    SCOPE_MAP                = jsonencode(var.scopes)
    INTROSPECTION_URI        = var.introspection_secret_arn == "" ? "" : "${var.issuer}/oauth2/introspect"
    INTROSPECTION_SECRET_ARN = var.introspection_secret_arn
    PROOF_OF_POSSESSION      = join(",", var.proof_of_possession)
    RESOURCE                 = var.resource
    REPLAY_TABLE             = local.uses_dpop ? local.state_table : ""
    DENY_LIST_TABLE          = var.check_revoked_tokens ? local.state_table : ""
  }, var.variables)

  # The same file is the source of the CDK construct.
  declared_responses = jsondecode(file("${path.module}/../../gateway_responses.json"))
  dpop               = local.uses_dpop ? "DPoP algs=\"ES256 ES384 ES512 Ed25519 EdDSA ML-DSA-44 ML-DSA-65 PS256 PS384 PS512 RS256 RS384 RS512\", " : ""
  metadata           = var.metadata_url == "" ? "" : " resource_metadata=\"${var.metadata_url}\""
  more_metadata      = var.metadata_url == "" ? "" : ",${local.metadata}"

  gateway_responses = {
    for type, response in local.declared_responses : type => {
      status = try(response.status, null)
      body   = response.body
      headers = {
        for name, value in try(response.headers, {}) : "gatewayresponse.header.${name}" => replace(replace(replace(
        value, "{dpop}", local.dpop), "{metadata}", local.metadata), "{more_metadata}", local.more_metadata)
      }
    }
  }
}
