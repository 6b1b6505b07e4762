//! The whole system behind verbs of its domain, for journeys: the real executable, its real servers, through its HTTP and bus interfaces.
//!
//! For development only.

mod browser;
mod crowd;
pub mod error_catalogue;
pub mod event_catalogue;
mod generators;
pub mod http_catalogue;
mod kubernetes;
mod lablet;
mod node_packages;
mod oidc_provider;
mod python;
mod schemathesis;
mod service_address;
pub mod service_programs;
pub mod session_diagram;
mod waiting;
pub mod walk;
mod webhook_receiver;

pub use self::browser::{Appearance, Browser, DESKTOP, Element, Focus, PHONE, Paper, Violation, Weight};
pub use self::crowd::Crowd;
pub use self::generators::{ClientAccess, Generators};
pub use self::kubernetes::{helm_template, helm_template_in, validate_manifests};
pub use self::lablet::people::sign_in_by_link;
pub use self::lablet::{Answer, Lablet, LabletOptions, Refused, install_tls};
pub use self::oidc_provider::{Consent, OidcProvider};
pub use self::python::{build_site, python, python_of_documents};
pub use self::schemathesis::{schemathesis, validate_notices};
pub use self::service_address::ServiceAddress;
pub use self::waiting::eventually;
pub use self::webhook_receiver::WebhookReceiver;
