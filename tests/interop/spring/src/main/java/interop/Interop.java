/* Spring Security's resource server and OAuth2 client, configured by the issuer's address. */

package interop;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.oauth2.client.AuthorizedClientServiceOAuth2AuthorizedClientManager;
import org.springframework.security.oauth2.client.OAuth2AuthorizeRequest;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClientService;
import org.springframework.security.oauth2.client.registration.ClientRegistrationRepository;
import org.springframework.security.oauth2.jwt.JwtClaimNames;
import org.springframework.security.oauth2.jwt.JwtClaimValidator;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.security.oauth2.server.resource.introspection.SpringOpaqueTokenIntrospector;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

@SpringBootApplication
public class Interop {
    @Value("${issuer}")
    String issuer;

    public static void main(String[] arguments) {
        SpringApplication.run(Interop.class, arguments);
    }

    @Bean
    SecurityFilterChain plain(HttpSecurity http) throws Exception {
        NimbusJwtDecoder decoder = NimbusJwtDecoder.withIssuerLocation(issuer).build();
        return jwt(http, "/plain", "service-client-jwt", decoder);
    }

    @Bean
    SecurityFilterChain atJwt(HttpSecurity http) throws Exception {
        // The type at+jwt is accepted by the RFC 9068 validators, not by the default type verifier.
        NimbusJwtDecoder decoder = NimbusJwtDecoder.withIssuerLocation(issuer).validateType(false).build();
        decoder.setJwtValidator(
                JwtValidators.createAtJwtValidator()
                        .issuer(issuer)
                        .audience("https://country.example")
                        .clientId("service-client-api")
                        .build());
        return guard(http, "/at-jwt").oauth2ResourceServer(server -> server.jwt(jwt -> jwt.decoder(decoder))).build();
    }

    @Bean
    SecurityFilterChain opaque(HttpSecurity http) throws Exception {
        String client = "service-client-opaque";
        var introspector =
                SpringOpaqueTokenIntrospector.withIntrospectionUri(issuer + "/oauth2/introspect")
                        .clientId(client)
                        .clientSecret(client + "-secret")
                        .build();
        return guard(http, "/opaque")
                .oauth2ResourceServer(server -> server.opaqueToken(token -> token.introspector(introspector)))
                .build();
    }

    @Bean
    SecurityFilterChain client(HttpSecurity http) throws Exception {
        return http.securityMatcher("/client").authorizeHttpRequests(r -> r.anyRequest().permitAll()).build();
    }

    private SecurityFilterChain jwt(HttpSecurity http, String path, String audience, NimbusJwtDecoder decoder)
            throws Exception {
        decoder.setJwtValidator(
                JwtValidators.createDefaultWithValidators(
                        new org.springframework.security.oauth2.jwt.JwtIssuerValidator(issuer),
                        new JwtClaimValidator<java.util.Collection<String>>(
                                JwtClaimNames.AUD, aud -> aud != null && aud.contains(audience))));
        return guard(http, path).oauth2ResourceServer(server -> server.jwt(jwt -> jwt.decoder(decoder))).build();
    }

    private static HttpSecurity guard(HttpSecurity http, String path) throws Exception {
        return http.securityMatcher(path).authorizeHttpRequests(requests -> requests.anyRequest().authenticated());
    }

    @Bean
    AuthorizedClientServiceOAuth2AuthorizedClientManager clients(
            ClientRegistrationRepository registrations, OAuth2AuthorizedClientService authorized) {
        return new AuthorizedClientServiceOAuth2AuthorizedClientManager(registrations, authorized);
    }

    @RestController
    record Routes(AuthorizedClientServiceOAuth2AuthorizedClientManager clients) {
        @GetMapping({"/plain", "/at-jwt", "/opaque"})
        String guarded() {
            return "ok";
        }

        @GetMapping("/client")
        String token() {
            var request = OAuth2AuthorizeRequest.withClientRegistrationId("gatehouse").principal("interop").build();
            return clients.authorize(request).getAccessToken().getTokenValue();
        }
    }
}
