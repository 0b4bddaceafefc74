//! The environment variables of `huggingface_hub` → where models come from and where they are kept.

use anyhow::{Context, Result, ensure};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// How long a connection may be silent. Python's ten seconds are short for a slow link.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// What the environment says about the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The hub's address, without a slash at its end (`HF_ENDPOINT`).
    pub endpoint: String,
    /// The cache folder (`HF_HUB_CACHE`, or in `HF_HOME`).
    pub cache: PathBuf,
    /// Whether only the cache may be used (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// How long a connection may be silent (`HF_HUB_DOWNLOAD_TIMEOUT`).
    pub timeout: Duration,
    token: Token,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Given(String),
    InFile(PathBuf),
}

impl Settings {
    /// Reads the process's environment.
    pub fn from_env() -> Result<Self> {
        Self::read(|name| env::var_os(name))
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let path = |name| variable(name).map(|value| expand_home(Path::new(&value)));
        let text = |name| {
            let value = variable(name).map(OsString::into_string).transpose();
            value.map_err(|_| anyhow::anyhow!("{name} is not UTF-8"))
        };
        let is_true = |name| {
            let value = text(name)?.unwrap_or_default().to_ascii_lowercase();
            anyhow::Ok(matches!(value.as_str(), "1" | "on" | "yes" | "true"))
        };

        let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        ensure!(
            endpoint.starts_with("https://") || endpoint.starts_with("http://"),
            "HF_ENDPOINT is {}, which does not begin with https:// or http://",
            without_user(&endpoint)
        );
        let home = || match (path("HF_HOME"), path("XDG_CACHE_HOME"), env::home_dir()) {
            (Some(home), ..) => Ok(home),
            (None, Some(cache), _) => Ok(cache.join("huggingface")),
            (None, None, Some(home)) => Ok(home.join(".cache").join("huggingface")),
            (None, None, None) => Err(anyhow::anyhow!(
                "cannot tell where your home folder is; set HF_HOME to the folder of the model cache"
            )),
        };
        let timeout = match text("HF_HUB_DOWNLOAD_TIMEOUT")? {
            Some(seconds) => {
                let seconds = seconds.parse().with_context(|| {
                    format!("HF_HUB_DOWNLOAD_TIMEOUT is {seconds}, not a number of seconds")
                })?;
                Duration::from_secs(seconds).max(Duration::from_secs(1))
            }
            None => DEFAULT_TIMEOUT,
        };
        let token = match text("HF_TOKEN")?.or(text("HUGGING_FACE_HUB_TOKEN")?) {
            Some(token) if !token.trim().is_empty() => Token::Given(token),
            _ => Token::InFile(path("HF_TOKEN_PATH").map_or_else(|| Ok(home()?.join("token")), anyhow::Ok)?),
        };
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: path("HF_HUB_CACHE")
                .or(path("HUGGINGFACE_HUB_CACHE"))
                .map_or_else(|| Ok(home()?.join("hub")), anyhow::Ok)?,
            offline: if variable("HF_HUB_OFFLINE").is_some() {
                is_true("HF_HUB_OFFLINE")?
            } else {
                is_true("TRANSFORMERS_OFFLINE")?
            },
            timeout,
            token,
        })
    }

    /// The endpoint without a user and password.
    pub fn shown_endpoint(&self) -> String {
        without_user(&self.endpoint)
    }

    /// The user's access token (`HF_TOKEN`, or the file that logging in writes).
    pub fn token(&self) -> Result<Option<String>> {
        let token = match &self.token {
            Token::Given(token) => token.clone(),
            Token::InFile(path) => match fs::read_to_string(path) {
                Ok(token) => token,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    return Ok(None);
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot read the access token in {}", path.display()));
                }
            },
        };
        let token = token.trim();
        ensure!(
            token.bytes().all(|byte| byte.is_ascii_graphic()),
            "the access token (HF_TOKEN, or the file that logging in wrote) has characters that no token has"
        );
        Ok(Some(token.to_owned()).filter(|token| !token.is_empty()))
    }
}

/// An address, or what should be one, for people: without what stands before an `@`.
fn without_user(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    format!("{scheme}{host}{path}")
}

/// Replaces a leading `~` with the home folder, as a shell does.
pub fn expand_home(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    match (path.strip_prefix("~"), env::home_dir()) {
        (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => home,
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        read(variables).unwrap()
    }

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_cache_is_where_hf_hub_cache_or_hf_home_or_the_users_cache_folder_says() {
        let cache = |variables: &[(&str, &str)]| settings(variables).cache;
        let (hub, home, user) = (("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x"));
        assert_eq!(cache(&[hub, home, user]), Path::new("/c"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old"), home]), Path::new("/old"));
        assert_eq!(cache(&[home, user]), Path::new("/h/hub"));
        assert_eq!(cache(&[user]), Path::new("/x/huggingface/hub"));
        let default = env::home_dir().unwrap().join(".cache/huggingface/hub");
        assert_eq!(cache(&[]), default);
        assert_eq!(cache(&[("HF_HUB_CACHE", "~/models")]), env::home_dir().unwrap().join("models"));
    }

    #[test]
    fn offline_is_what_python_takes_for_true() {
        for (value, offline) in
            [("1", true), ("Yes", true), ("TRUE", true), ("on", true), ("0", false), ("", false)]
        {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value:?}");
        }
        assert!(settings(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
        assert!(!settings(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]).offline);
    }

    #[test]
    fn an_endpoint_has_a_scheme_and_loses_its_last_slash() {
        assert_eq!(settings(&[]).endpoint, "https://huggingface.co");
        assert_eq!(settings(&[("HF_ENDPOINT", "http://mirror:8080/hf/")]).endpoint, "http://mirror:8080/hf");
        assert!(read(&[("HF_ENDPOINT", "mirror:8080")]).is_err());
    }

    #[test]
    fn a_password_in_the_endpoint_is_not_shown() {
        let shown = |endpoint| settings(&[("HF_ENDPOINT", endpoint)]).shown_endpoint();
        assert_eq!(shown("https://me:p@ss@mirror:8080/hf@x"), "https://mirror:8080/hf@x");
        assert_eq!(shown("https://mirror"), "https://mirror");
        let told = read(&[("HF_ENDPOINT", "me:secret@mirror/hf")]).unwrap_err().to_string();
        assert!(told.contains("HF_ENDPOINT is mirror/hf") && !told.contains("secret"), "{told}");
    }

    #[test]
    fn the_token_of_the_environment_goes_before_that_of_the_file() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let home = home.path().to_str().unwrap();
        let token = |variables: &[(&str, &str)]| settings(variables).token().unwrap();
        assert_eq!(token(&[("HF_TOKEN", " hf_given\n"), ("HF_HOME", home)]).as_deref(), Some("hf_given"));
        assert_eq!(token(&[("HF_TOKEN", ""), ("HF_HOME", home)]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[("HF_HOME", "/nowhere")]), None);
        assert!(settings(&[("HF_TOKEN", "hf one")]).token().is_err());
    }
}
