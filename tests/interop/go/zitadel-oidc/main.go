// zitadel/oidc as resource server that introspects tokens.
package main

import (
	"context"
	"errors"

	"gatehouse.example/interop/serve"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

func main() {
	const client = "service-client-opaque"
	server := serve.Must(rs.NewResourceServerClientCredentials(context.Background(), serve.Issuer, client, client+"-secret"))
	serve.Guard("/opaque", func(ctx context.Context, token string) error {
		answer, err := rs.Introspect[*oidc.IntrospectionResponse](ctx, server, token)
		if err == nil && !answer.Active {
			err = errors.New("inactive")
		}
		return err
	})
	serve.Run()
}
