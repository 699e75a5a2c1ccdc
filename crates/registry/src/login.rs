//! `login` and `logout`: a name and a password are tried at the registry before they are kept.

use crate::config::Place;
use crate::credentials::{self, Credentials};
use crate::endpoint::{Ask, At, Endpoint};
use crate::error::Error;
use crate::reference::{DOCKER_HUB, check_registry};
use crate::remote::Registries;
use std::sync::Mutex;

impl Registries {
    /// Tries a login and keeps it. Says where: a file, or a credential helper.
    pub fn login(&self, registry: &str, login: &Credentials) -> Result<String, Error> {
        let registry = bare(registry)?;
        self.verify(registry, login)?;
        credentials::store(&self.client.environment, registry, login)
    }

    /// Forgets the login for a registry. Says where it was; nowhere when there was none.
    pub fn logout(&self, registry: &str) -> Result<Vec<String>, Error> {
        credentials::erase(&self.client.environment, bare(registry)?)
    }

    /// The login that would be used for a registry.
    pub fn login_of(&self, registry: &str) -> Result<Option<Credentials>, Error> {
        credentials::find(&self.client.environment, bare(registry)?, "")
    }

    fn verify(&self, registry: &str, login: &Credentials) -> Result<(), Error> {
        let insecure = self.client.config.is_insecure(registry);
        let place = Place { registry: registry.to_owned(), repository: String::new(), insecure };
        // Not the shared host: tokens that were had with another login must not answer for this one.
        let host = crate::endpoint::Host::new(place.authority(), insecure).into();
        let endpoint =
            Endpoint { login: Mutex::new(Some(Some(login.clone()))), ..Endpoint::new(&self.client, host, place, "") };
        match endpoint.ask(&Ask::get(At::Path(String::new()), registry.to_owned())) {
            Ok(_) => Ok(()),
            Err(Error::Unauthorized { said, .. } | Error::Denied { said, .. }) => {
                Err(Error::Login { host: registry.to_owned(), said })
            }
            Err(error) => Err(error),
        }
    }
}

/// A registry as people write it: nothing at all, or with a scheme and Docker's old path, may be meant.
fn bare(registry: &str) -> Result<&str, Error> {
    let text = registry.strip_prefix("https://").or(registry.strip_prefix("http://")).unwrap_or(registry);
    let text = text.trim_end_matches('/');
    let text = text.strip_suffix("/v1").or(text.strip_suffix("/v2")).unwrap_or(text);
    match text {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => Ok(DOCKER_HUB),
        host => check_registry(host).map(|()| host).map_err(Error::from),
    }
}
