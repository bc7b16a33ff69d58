//! Certificates for the tests.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// An authority, which signs certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM format.
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = params(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// Its own certificate as that of a server, as `openssl req -x509` makes it.
    pub(crate) fn certify_itself(names: &[&str]) -> Certified {
        let mut params = params(names);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        sign_itself(params)
    }

    pub(crate) fn certify(&self, names: &[&str]) -> Certified {
        self.sign(params(names))
    }

    pub(crate) fn certify_in_the_past(&self, names: &[&str]) -> Certified {
        let mut params = params(names);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Certified {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Certified { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// The certificate of a server that no authority has signed.
pub(crate) fn signed_by_itself(names: &[&str]) -> Certified {
    sign_itself(params(names))
}

fn sign_itself(params: CertificateParams) -> Certified {
    let key = KeyPair::generate().unwrap();
    Certified { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// Makes the certificate that the examples and the documentation use:
/// `cargo test -p onelane-tls-tests make_the_certificate_of_the_examples -- --ignored`.
#[test]
#[ignore = "writes the files examples/tls/localhost.pem and localhost.key"]
fn make_the_certificate_of_the_examples() {
    let key = KeyPair::generate().unwrap();
    let mut params = params(&["localhost"]);
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let certificate = params.self_signed(&key).unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tls");
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(format!("{folder}/localhost.pem"), certificate.pem()).unwrap();
    std::fs::write(format!("{folder}/localhost.key"), key.serialize_pem()).unwrap();
}
