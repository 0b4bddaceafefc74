//! The environment → the proxy that an address is asked for through, if any.
//!
//! `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in lower case before upper case, mean
//! what they mean to curl. ureq reads them too, but takes the first it finds for all addresses.

use super::{Address, Fault};
use std::env;
use std::fmt;
use std::net::IpAddr;
use ureq::Proxy;
use url::Host;

/// The proxies of one process.
#[derive(Debug)]
pub struct Proxies {
    http: Option<Setting>,
    https: Option<Setting>,
    exceptions: Vec<Exception>,
}

#[derive(Debug)]
struct Setting {
    variable: &'static str,
    /// Absent where the variable's value cannot be used.
    proxy: Option<Proxy>,
}

/// The proxy that an address is asked for through.
#[derive(Debug, Clone, Copy)]
pub struct ChosenProxy<'a> {
    pub proxy: &'a Proxy,
    /// What names it.
    variable: &'static str,
}

/// For people: without what it is told of the user.
impl fmt::Display for ChosenProxy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{} ({})", self.proxy.host(), self.proxy.port(), self.variable)
    }
}

/// An entry of `no_proxy`.
#[derive(Debug, PartialEq, Eq)]
enum Exception {
    All,
    /// A host and all below it.
    Domain {
        name: String,
        port: Option<u16>,
    },
    /// All addresses that begin with so many bits.
    Network {
        ip: IpAddr,
        bits: u8,
        port: Option<u16>,
    },
}

impl Proxies {
    /// Reads the process's environment.
    pub fn from_env() -> Self {
        Self::read(|name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        // A web server gives its CGI programs the request's `Proxy:` header under this name.
        let is_cgi = value("REQUEST_METHOD").is_some();
        let setting = |names: &[&'static str]| {
            let usable = |name: &&&'static str| !(is_cgi && **name == "HTTP_PROXY");
            let (name, value) = names.iter().filter(usable).find_map(|&name| Some((name, value(name)?)))?;
            Some(Setting { variable: name, proxy: Proxy::new(value.trim()).ok() })
        };
        let exceptions = value("no_proxy").or_else(|| value("NO_PROXY")).unwrap_or_default();
        Self {
            http: setting(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            https: setting(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            exceptions: exceptions
                .split(|c: char| c == ',' || c.is_whitespace())
                .filter_map(Exception::parse)
                .collect(),
        }
    }

    /// The proxy between here and `address`.
    ///
    /// *Errors* when the variable that names it cannot be used.
    pub fn towards(&self, address: &Address) -> Result<Option<ChosenProxy<'_>>, Fault> {
        let url = address.url();
        let setting = if url.scheme() == "https" { &self.https } else { &self.http };
        let Some(Setting { variable, proxy }) = setting else { return Ok(None) };
        let port = url.port_or_known_default();
        if url.host().is_some_and(|host| self.exceptions.iter().any(|exception| exception.holds(&host, port)))
        {
            return Ok(None);
        }
        let proxy = proxy.as_ref().ok_or(Fault::Proxy(variable))?;
        Ok(Some(ChosenProxy { proxy, variable }))
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        if let Some((network, bits)) = text.split_once('/') {
            let ip: IpAddr = network.parse().ok()?;
            let bits = bits.parse().ok().filter(|&bits| bits <= width(ip))?;
            return Some(Self::Network { ip, bits, port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            _ if text.parse::<IpAddr>().is_ok() => (text, None),
            Some((host, port)) => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => (text, None),
            },
            None => (text, None),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse() {
            return Some(Self::Network { ip, bits: width(ip), port });
        }
        let name = host.strip_prefix('*').unwrap_or(host).trim_matches('.').to_ascii_lowercase();
        (!name.is_empty()).then_some(Self::Domain { name, port })
    }

    fn holds(&self, host: &Host<&str>, host_port: Option<u16>) -> bool {
        let is_port = |port: &Option<u16>| port.is_none() || *port == host_port;
        match (self, host) {
            (Self::All, _) => true,
            (Self::Domain { name, port }, Host::Domain(host)) => {
                let host = host.trim_end_matches('.');
                let above = host.strip_suffix(name.as_str());
                is_port(port) && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            (Self::Network { ip, bits, port }, Host::Ipv4(host)) => {
                is_port(port) && is_within(IpAddr::V4(*host), *ip, *bits)
            }
            (Self::Network { ip, bits, port }, Host::Ipv6(host)) => {
                is_port(port) && is_within(IpAddr::V6(*host), *ip, *bits)
            }
            _ => false,
        }
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// Whether both begin with the same `bits`.
fn is_within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    let differ = match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => u128::from(ip.to_bits() ^ network.to_bits()) << 96,
        (IpAddr::V6(ip), IpAddr::V6(network)) => ip.to_bits() ^ network.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= u32::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    /// The proxy's host, or nothing where there is none.
    fn towards(variables: &[(&str, &str)], address: &str) -> String {
        let proxies = proxies(variables);
        let proxy = proxies.towards(&Address::parse(address).unwrap()).unwrap();
        proxy.map_or_else(String::new, |chosen| chosen.proxy.host().to_owned())
    }

    #[test]
    fn a_proxy_is_chosen_by_the_scheme_of_the_address() {
        let both = [("http_proxy", "http://plain:3128"), ("HTTPS_PROXY", "secure:3128")];
        assert_eq!(towards(&both, "http://h/"), "plain");
        assert_eq!(towards(&both, "https://h/"), "secure");
        assert_eq!(towards(&both[..1], "https://h/"), "");
        let all = [("ALL_PROXY", "socks5h://all"), ("https_proxy", "secure")];
        assert_eq!(towards(&all, "http://h/"), "all");
        assert_eq!(towards(&all, "https://h/"), "secure");
        let cases = [("http_proxy", "lower"), ("HTTP_PROXY", "upper")];
        assert_eq!(towards(&cases, "http://h/"), "lower");
        assert_eq!(towards(&[("http_proxy", ""), ("HTTP_PROXY", "upper")], "http://h/"), "upper");
    }

    #[test]
    fn a_cgi_program_does_not_take_its_proxy_from_the_request() {
        let cgi = [("HTTP_PROXY", "evil"), ("REQUEST_METHOD", "GET")];
        assert_eq!(towards(&cgi, "http://h/"), "");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_told_and_not_passed_by() {
        for value in ["gopher://h", "http://", "http://a b"] {
            let proxies = proxies(&[("http_proxy", value)]);
            let address = Address::parse("http://h/").unwrap();
            assert!(matches!(proxies.towards(&address), Err(Fault::Proxy("http_proxy"))), "{value}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_with_all_below_them_and_ports_and_networks() {
        let direct = |exceptions: &str, address: &str| {
            towards(&[("all_proxy", "p"), ("no_proxy", exceptions)], address).is_empty()
        };
        for (exceptions, address) in [
            ("*", "http://h/"),
            ("a.example", "http://a.example/"),
            ("a.example", "http://b.a.example/"),
            (".a.example", "http://b.a.example/"),
            ("*.a.example", "http://b.a.example/"),
            (".a.example", "http://a.example/"),
            ("x, A.Example y", "https://a.EXAMPLE/"),
            ("a.example:8080", "http://a.example:8080/"),
            ("a.example:80", "http://a.example/"),
            ("127.0.0.1", "http://127.0.0.1:9/"),
            ("127.0.0.1:9", "http://127.0.0.1:9/"),
            ("10.0.0.0/8", "http://10.1.2.3/"),
            ("0.0.0.0/0", "http://10.1.2.3/"),
            ("::1", "http://[::1]/"),
            ("[::1]:80", "http://[::1]/"),
            ("fd00::/8", "http://[fd12::1]/"),
        ] {
            assert!(direct(exceptions, address), "{exceptions} {address}");
        }
        for (exceptions, address) in [
            ("", "http://h/"),
            ("a.example", "http://ba.example/"),
            ("a.example", "http://a.example.org/"),
            ("a.example:8080", "http://a.example/"),
            ("127.0.0.1", "http://127.0.0.10/"),
            ("10.0.0.0/8", "http://11.1.2.3/"),
            ("10.0.0.0/33", "http://10.0.0.0/"),
            ("fd00::/8", "http://10.0.0.0/"),
            (".", "http://h/"),
        ] {
            assert!(!direct(exceptions, address), "{exceptions} {address}");
        }
    }

    #[test]
    fn upper_case_no_proxy_counts_where_there_is_no_other() {
        assert_eq!(towards(&[("http_proxy", "p"), ("NO_PROXY", "h")], "http://h/"), "");
    }
}
