variable "name" {
  description = "The name of the function, its role and its log."
  type        = string
}

variable "artifact" {
  description = "The path of the authorizer's zip file, which make build writes to .gatehouse/dist."
  type        = string
}

variable "rest_api_id" {
  description = "The REST API that gets the authorizer and its gateway responses."
  type        = string
}

variable "rest_api_execution_arn" {
  description = "The execution ARN of this API."
  type        = string
}

variable "issuer" {
  description = "The issuer of the tokens, without a slash at the end."
  type        = string
}

variable "audience" {
  description = "The audiences of the API. An empty list accepts tokens for any API."
  type        = list(string)
}

variable "scopes" {
  description = "The scope map: routes by scope."
  type        = map(list(string))
}

variable "algorithms" {
  description = "The accepted signature algorithms."
  type        = list(string)
  default     = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"]
}

variable "introspection_secret_arn" {
  description = "The secret with client credentials for introspection. Opaque tokens need it."
  type        = string
  default     = ""
}

variable "state_table_arn" {
  description = "The state table of Gatehouse. DPoP and the check of revoked tokens need it."
  type        = string
  default     = ""
}

variable "data_key_arn" {
  description = "The KMS key of that secret and that table."
  type        = string
  default     = ""
}

variable "proof_of_possession" {
  description = "The accepted key-bound tokens: dpop, mtls."
  type        = list(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.proof_of_possession, ["dpop", "mtls"])) == 0
    error_message = "proof_of_possession is dpop, mtls or both."
  }
  validation {
    condition     = !contains(var.proof_of_possession, "dpop") || var.state_table_arn != ""
    error_message = "DPoP needs state_table_arn."
  }
}

variable "resource" {
  description = "The address of the API behind a proxy, for DPoP."
  type        = string
  default     = ""
}

variable "check_revoked_tokens" {
  description = "true rejects revoked JWTs."
  type        = bool
  default     = false

  validation {
    condition     = !var.check_revoked_tokens || var.state_table_arn != ""
    error_message = "The check of revoked tokens needs state_table_arn."
  }
}

variable "cache_seconds" {
  description = "The time for which API Gateway caches a policy."
  type        = number
  default     = 300

  validation {
    condition     = var.cache_seconds == 0 || length(var.proof_of_possession) == 0
    error_message = "proof_of_possession needs cache_seconds 0: a cached policy accepts a stolen token."
  }
}

variable "metadata_url" {
  description = "The address of the API's metadata in challenges (RFC 9728)."
  type        = string
  default     = ""
}

variable "variables" {
  description = "Further settings of the authorizer, as environment variables."
  type        = map(string)
  default     = {}
}

variable "runtime" {
  description = "The runtime in the name of the artifact."
  type        = string
  default     = "python3.13"
}

variable "architecture" {
  description = "The architecture in the name of the artifact."
  type        = string
  default     = "arm64"
}

variable "memory_size" {
  description = "Megabytes of the function."
  type        = number
  default     = 512
}

variable "log_retention_days" {
  description = "Retention time of the log."
  type        = number
  default     = 30
}
