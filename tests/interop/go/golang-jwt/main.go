// golang-jwt with keyfunc for the key set.
package main

import (
	"context"

	"gatehouse.example/interop/serve"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

func main() {
	keys := serve.Must(keyfunc.NewDefaultCtx(context.Background(), []string{serve.JWKS}))
	for path, audience := range serve.Audiences {
		parser := jwt.NewParser(
			jwt.WithIssuer(serve.Issuer),
			jwt.WithAudience(audience),
			jwt.WithValidMethods([]string{"RS256"}),
			jwt.WithExpirationRequired(),
		)
		serve.Guard(path, func(ctx context.Context, token string) error {
			_, err := parser.Parse(token, keys.KeyfuncCtx(ctx))
			return err
		})
	}
	serve.Run()
}
