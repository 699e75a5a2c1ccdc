//! Logins: who we are to a registry. Kept where Docker keeps them, found where Docker and Podman do.

use super::remote::registries;
use crate::error::Error;
use registry::{Credentials, DOCKER_HUB};

/// Tries a name and a password at a registry, and keeps them when it takes them. Says where.
pub fn login(registry: &str, username: &str, password: &str) -> Result<String, Error> {
    let credentials = Credentials::Password { username: username.to_owned(), password: password.to_owned() };
    Ok(registries()?.login(or_hub(registry), &credentials).map_err(image::Error::from)?)
}

/// Forgets the login for a registry. Says where it was; nowhere when there was none.
pub fn logout(registry: &str) -> Result<Vec<String>, Error> {
    Ok(registries()?.logout(or_hub(registry)).map_err(image::Error::from)?)
}

/// Who we are to a registry, if we are anybody: a name, or `<token>` where it is known by a token alone.
pub fn logged_in_as(registry: &str) -> Result<Option<String>, Error> {
    let login = registries()?.login_of(or_hub(registry)).map_err(image::Error::from)?;
    Ok(login.map(|login| match login {
        Credentials::Password { username, .. } => username,
        Credentials::IdentityToken { .. } => "<token>".into(),
    }))
}

/// Without a word Docker Hub is meant.
fn or_hub(registry: &str) -> &str {
    if registry.is_empty() { DOCKER_HUB } else { registry }
}
