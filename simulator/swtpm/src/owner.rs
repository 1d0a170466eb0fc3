//! What the owner of a host, or somebody who sits at it, does to its TPM: plain commands with an empty password.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// TPM_CC_Clear and TPM_CC_DictionaryAttackParameters.
const CLEAR: u32 = 0x0126;
const DICTIONARY_ATTACK_PARAMETERS: u32 = 0x013A;
/// TPM_ST_SESSIONS.
const WITH_SESSIONS: u16 = 0x8002;
/// TPM_RH_LOCKOUT, and its authorization: TPM_RS_PW with an empty nonce, no attributes and an empty password.
const LOCKOUT: u32 = 0x4000_000A;
const EMPTY_PASSWORD: [u8; 9] = [0x40, 0, 0, 0x09, 0, 0, 0, 0, 0];
/// A TPM that is talked to by somebody else does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clears it: the owner's keys and data are gone.
pub(crate) fn clear(port: u16) -> anyhow::Result<()> {
    command(port, CLEAR, &[]).context("clearing the TPM")
}

/// Puts it into lockout, or ends that, by the number of wrong passwords that it bears.
pub(crate) fn set_lockout(port: u16, locked: bool) -> anyhow::Result<()> {
    let tries: u32 = if locked { 0 } else { 32 };
    let (recovery, lockout_recovery) = (7200_u32, 86_400_u32);
    let parameters = [tries, recovery, lockout_recovery].map(u32::to_be_bytes).concat();
    command(port, DICTIONARY_ATTACK_PARAMETERS, &parameters).context("setting the TPM's lockout")
}

/// Sends a command that the lockout's password authorizes.
fn command(port: u16, code: u32, parameters: &[u8]) -> anyhow::Result<()> {
    let body = [
        &code.to_be_bytes()[..],
        &LOCKOUT.to_be_bytes(),
        &u32::try_from(EMPTY_PASSWORD.len())?.to_be_bytes(),
        &EMPTY_PASSWORD,
        parameters,
    ]
    .concat();
    let length = u32::try_from(6 + body.len())?;
    let message = [&WITH_SESSIONS.to_be_bytes()[..], &length.to_be_bytes(), &body].concat();
    let mut tpm = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    tpm.set_read_timeout(Some(PATIENCE))?;
    tpm.write_all(&message)?;
    // tag, length, code
    let mut answer = [0; 10];
    tpm.read_exact(&mut answer).context("no answer: does another program talk to it?")?;
    let [.., a, b, c, d] = answer;
    let code = u32::from_be_bytes([a, b, c, d]);
    ensure!(code == 0, "it answered {code:#05x}");
    Ok(())
}
