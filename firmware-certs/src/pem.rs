//! PEM (RFC 7468), the writing half. Reading is in `bundle`.

use base64::Engine as _;

/// Columns of a line of base64.
const LINE: usize = 64;

/// Wraps DER into PEM with lines of 64 characters and a newline at the end.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (column, c) in body.chars().enumerate() {
        if column > 0 && column.is_multiple_of(LINE) {
            pem.push('\n');
        }
        pem.push(c);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}

/// PEM of a certificate.
#[must_use]
pub fn certificate(der: &[u8]) -> String {
    encode("CERTIFICATE", der)
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_have_64_columns() {
        let pem = super::encode("X", &[0xAB; 96]);
        let lines: Vec<&str> = pem.lines().collect();
        assert_eq!(lines.first(), Some(&"-----BEGIN X-----"));
        assert_eq!(lines.iter().map(|l| l.len()).collect::<Vec<_>>(), [17, 64, 64, 15]);
        assert!(pem.ends_with("-----END X-----\n"));
    }
}
