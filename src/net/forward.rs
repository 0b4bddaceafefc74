//! A plain `http://` request through a proxy → asked of the proxy by its whole address.
//!
//! ureq asks every proxy for a tunnel (`CONNECT`), which most allow to port 443 only: what is not
//! encrypted they want to see. This stands before ureq's own connector for tunnels, and leaves it
//! what goes to `https://`. It stands on ureq's interface for transports, which may change with any
//! version: Cargo.toml keeps to one.

use std::fmt;
use std::io::{Read, Write};
use ureq::config::Config;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};
use ureq::{Error, ProxyProtocol};

/// Connects plain requests to the proxy itself.
#[derive(Debug)]
pub struct ForwardConnector {
    /// What connections to the proxy are made with: the agent's, without the proxy.
    pub config: Config,
}

impl<In: Transport> Connector<In> for ForwardConnector {
    type Out = Either<In, Forwarded>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let proxy = details.config.proxy().filter(|proxy| is_http(proxy.protocol()));
        let (None, Some(proxy), false) = (&chained, proxy, details.needs_tls()) else {
            return Ok(chained.map(Either::A));
        };
        let host = details.uri.authority().ok_or_else(|| Error::BadUri(details.uri.to_string()))?;
        let to_proxy = ConnectionDetails {
            uri: proxy.uri(),
            addrs: details.resolver.resolve(proxy.uri(), &self.config, details.timeout)?,
            config: &self.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let transport = (details.run_connector)(&to_proxy)?;
        Ok(Some(Either::B(Forwarded {
            target: format!("http://{host}"),
            buffers: LazyBuffers::new(self.config.input_buffer_size(), self.config.output_buffer_size()),
            proxy: TransportAdapter::new(transport, details.current_time.clone()),
        })))
    }
}

/// Whether a proxy of this protocol can be asked for a whole address.
pub fn is_http(protocol: ProxyProtocol) -> bool {
    matches!(protocol, ProxyProtocol::Http | ProxyProtocol::Https)
}

/// A connection to a proxy that names the server in each request.
pub struct Forwarded {
    /// Scheme and authority of the server.
    target: String,
    buffers: LazyBuffers,
    proxy: TransportAdapter,
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.proxy.set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        // Requests have no content here, so only a request's first bytes can look like this.
        match output.strip_prefix(b"GET /") {
            Some(rest) => {
                let request = [b"GET ", self.target.as_bytes(), b"/", rest].concat();
                self.proxy.write_all(&request)?;
            }
            None => self.proxy.write_all(output)?,
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.proxy.set_timeout(timeout);
        let count = self.proxy.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.proxy.get_mut().is_open()
    }
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Forwarded").field("target", &self.target).finish_non_exhaustive()
    }
}
