// Package serve answers 200 on each path for tokens that its verifier accepts, and 401 for others.
package serve

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
)

// Issuer is the address of the authorization server.
var Issuer = os.Getenv("ISSUER")

// JWKS is the address of its key set.
var JWKS = Issuer + "/oauth2/jwks"

// Audiences are the APIs of both token profiles, by path.
var Audiences = map[string]string{"/plain": "service-client-jwt", "/at-jwt": "https://country.example"}

// Verify returns an error for a token that it rejects.
type Verify func(ctx context.Context, token string) error

// Guard adds a path for requests with a bearer token.
func Guard(path string, verify Verify) {
	http.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !found {
			http.Error(w, "no token", http.StatusUnauthorized)
		} else if err := verify(r.Context(), token); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
		}
	})
}

// Client adds a path that returns a token from the library's own client.
func Client(token func(ctx context.Context) (string, error)) {
	http.HandleFunc("/client", func(w http.ResponseWriter, r *http.Request) {
		received, err := token(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, received)
	})
}

// Run listens on the port of the environment.
func Run() {
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

// Must ends the process with an error of the configuration.
func Must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
