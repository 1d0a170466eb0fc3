//! The desktop client's preview parser, byte by byte as it behaves: it looks for text, not for parts.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};

/// Why the preview stops in that client.
#[derive(Debug, PartialEq, Eq)]
pub enum Stuck {
    /// The other side closed; the client spins on that.
    EndOfFile,
    /// No byte for as long as its socket timeout.
    Silence,
    /// The length is not a number.
    NotANumber,
}

/// Reads images until something stops it.
pub struct DesktopParser<R> {
    reader: BufReader<R>,
    silence: Duration,
}

impl<R: AsyncRead + Unpin> DesktopParser<R> {
    pub fn new(reader: R, silence: Duration) -> Self {
        Self { reader: BufReader::new(reader), silence }
    }

    /// The next image with the one byte that the client reads beyond it.
    pub async fn image(&mut self) -> Result<Vec<u8>, Stuck> {
        // 1. Skip until the name has appeared, but not as the very first thing.
        let mut text = String::new();
        while text.find("Content-Length:").is_none_or(|at| at == 0) {
            text.push(char::from(self.byte().await?));
        }
        // 2. Digits until the line ends; blanks are stripped, tabs are not.
        let mut digits = String::new();
        loop {
            match self.byte().await? {
                b'\r' | b'\n' => break,
                byte => digits.push(char::from(byte)),
            }
        }
        let length: usize = digits.replace(' ', "").parse().map_err(|_| Stuck::NotANumber)?;
        // 3. Skip to the first byte of a JPEG.
        while self.byte().await? != 0xff {}
        // 4. That many bytes more, which is one too many.
        let mut image = vec![0xff];
        for _ in 0..length {
            image.push(self.byte().await?);
        }
        Ok(image)
    }

    async fn byte(&mut self) -> Result<u8, Stuck> {
        match tokio::time::timeout(self.silence, self.reader.read_u8()).await {
            Ok(Ok(byte)) => Ok(byte),
            Ok(Err(_)) => Err(Stuck::EndOfFile),
            Err(_) => Err(Stuck::Silence),
        }
    }
}

/// Negative controls: the parser stumbles over what the real one stumbles over.
mod tests {
    use super::*;

    async fn parse(bytes: &[u8]) -> Result<Vec<u8>, Stuck> {
        DesktopParser::new(bytes, Duration::from_secs(5)).image().await
    }

    #[tokio::test]
    async fn it_reads_the_recommended_part_and_one_byte_more() {
        let part =
            b"--BoundaryString\r\nContent-Type: image/jpeg\r\nContent-Length: 3\r\n\r\n\xff\xd8\x01\r\n\r\n";
        assert_eq!(parse(part).await.unwrap(), b"\xff\xd8\x01\r");
    }

    #[tokio::test]
    async fn it_needs_the_byte_after_the_image() {
        assert_eq!(parse(b"--B\r\nContent-Length: 3\r\n\r\n\xff\xd8\x01").await, Err(Stuck::EndOfFile));
    }

    #[tokio::test]
    async fn it_never_finds_a_part_that_begins_with_the_name() {
        assert_eq!(parse(b"Content-Length: 3\r\n\r\n\xff\xd8\x01\r\n").await, Err(Stuck::EndOfFile));
    }

    #[tokio::test]
    async fn it_knows_one_spelling_and_no_tabs() {
        assert_eq!(parse(b"--B\r\ncontent-length: 3\r\n\r\n\xff\xd8\x01\r\n").await, Err(Stuck::EndOfFile));
        assert_eq!(parse(b"--B\r\nContent-Length:\t3\r\n\r\n\xff\xd8\x01\r\n").await, Err(Stuck::NotANumber));
    }
}
