//! HTTP settings that every request of this program shares.

use std::sync::Arc;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{TlsConfig, TlsConfigBuilder};
use ureq::typestate::AgentScope;

/// The shared settings: no proxy and no redirect, so that the answer comes from the server that was
/// asked, and every HTTP status is a response, not an error. The caller sets the deadline.
pub fn settings(tls: TlsConfig) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .tls_config(tls)
        .user_agent(concat!("mirror/", env!("CARGO_PKG_VERSION")))
}

/// TLS with the only crypto provider that is compiled in.
pub fn tls() -> TlsConfigBuilder {
    TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
}
