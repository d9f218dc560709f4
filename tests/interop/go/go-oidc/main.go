// go-oidc as verifier, and golang.org/x/oauth2 as client.
package main

import (
	"context"

	"gatehouse.example/interop/serve"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2/clientcredentials"
)

func main() {
	provider := serve.Must(oidc.NewProvider(context.Background(), serve.Issuer))
	for path, audience := range serve.Audiences {
		verifier := provider.Verifier(&oidc.Config{ClientID: audience})
		serve.Guard(path, func(ctx context.Context, token string) error {
			_, err := verifier.Verify(ctx, token)
			return err
		})
	}
	client := clientcredentials.Config{
		ClientID:     "service-client-api",
		ClientSecret: "service-client-api-secret",
		TokenURL:     provider.Endpoint().TokenURL,
		Scopes:       []string{"country.read"},
	}
	serve.Client(func(ctx context.Context) (string, error) {
		token, err := client.Token(ctx)
		if err != nil {
			return "", err
		}
		return token.AccessToken, nil
	})
	serve.Run()
}
