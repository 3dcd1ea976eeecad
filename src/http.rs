//! How this program asks by HTTP, whatever it asks.

use std::sync::Arc;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{TlsConfig, TlsConfigBuilder};
use ureq::typestate::AgentScope;

/// The settings that every request shares: the answer is that of the server that was asked, with
/// whatever status it gives. No proxy stands between, and no redirect is followed. A deadline is the
/// caller's to set.
pub fn settings(tls: TlsConfig) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .tls_config(tls)
        .user_agent(concat!("mirror/", env!("CARGO_PKG_VERSION")))
}

/// TLS by the one provider that is built in.
pub fn tls() -> TlsConfigBuilder {
    TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
}
