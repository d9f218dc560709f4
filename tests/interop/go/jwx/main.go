// lestrrat-go/jwx with its cache of the key set. It fetches by time only: here each 15 seconds.
package main

import (
	"context"
	"time"

	"gatehouse.example/interop/serve"
	"github.com/lestrrat-go/httprc/v3"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

func main() {
	ctx := context.Background()
	cache := serve.Must(jwk.NewCache(ctx, httprc.NewClient()))
	// Without this option it refuses a key set with a key of another type, such as ML-DSA.
	ignoring := jwk.WithIgnoreParseError(true)
	if err := cache.Register(ctx, serve.JWKS, jwk.WithConstantInterval(15*time.Second), ignoring); err != nil {
		panic(err)
	}
	keys := serve.Must(cache.CachedSet(serve.JWKS))
	for path, audience := range serve.Audiences {
		serve.Guard(path, func(_ context.Context, token string) error {
			_, err := jwt.ParseString(
				token,
				jwt.WithKeySet(keys),
				jwt.WithIssuer(serve.Issuer),
				jwt.WithAudience(audience),
				jwt.WithRequiredClaim(jwt.ExpirationKey),
			)
			return err
		})
	}
	serve.Run()
}
