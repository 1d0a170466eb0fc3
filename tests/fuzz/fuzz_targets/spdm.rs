//! SPDM from a stranger: every decoder, both roles, and the judge of transcripts.
//!
//! The input is cut into messages by a length before each (two bytes, little endian), as the transcripts are lists.
#![no_main]

use biotrust_spdm::chain::Chain;
use biotrust_spdm::command::{Answer, Command, Opcode, Refusal, RefusalKind};
use biotrust_spdm::measurement::{self, Block};
use biotrust_spdm::message::{Request, Response};
use biotrust_spdm::transcript::{Authentication, Measurements, VCA};
use biotrust_spdm::{Job, Module, ModuleError, Requester, Responder, Step};
use libfuzzer_sys::fuzz_target;

/// A module that does nothing, so that time goes into what is fuzzed.
struct Idle;

impl Module for Idle {
    fn chain(&self) -> Chain {
        // as long as a certificate, and shaped like one from outside
        let shell = [&[0x30, 0x82, 0x01, 0x00][..], &[0; 256]].concat();
        Chain { root_hash: [7; 32], certificates: vec![shell; 2] }
    }
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, ModuleError> {
        Ok(vec![0; 256])
    }
    fn measurements(&self) -> Vec<Block> {
        vec![Block::svn(1)]
    }
    fn pending_csr(&self) -> Option<Vec<u8>> {
        None
    }
    fn command(&self, _: Command) -> Result<Answer, Refusal> {
        Err(Refusal::new(RefusalKind::Unsupported, "idle"))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let messages = messages(bytes);
    decoders(&messages);
    judge(&messages);
    device(&messages);
    host(&messages);
});

fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let [low, high, rest @ ..] = bytes {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (message, rest) = rest.split_at(length);
        messages.push(message.to_vec());
        bytes = rest;
    }
    messages
}

/// What was read is written as the same bytes: there is one way to say a thing.
fn decoders(messages: &[Vec<u8>]) {
    for message in messages {
        if let Ok(request) = Request::decode(message) {
            let _ = request.encode();
        }
        if let Ok(response) = Response::decode(message) {
            let _ = response.encode();
        }
        if let Ok(blocks) = measurement::decode(message) {
            assert_eq!(measurement::encode(&blocks).ok().as_ref(), Some(message));
        }
        let _ = Chain::decode(message).map(|chain| chain.encode());
        let _ = Command::decode(message).map(|command| command.encode());
        for opcode in Opcode::ALL {
            let _ = Answer::decode(*opcode, message);
        }
    }
}

fn judge(messages: &[Vec<u8>]) {
    if let Ok(authentication) = Authentication::parse(messages) {
        let _ = authentication.verify(&[]);
    }
    if messages.len() > VCA {
        let (connection, rest) = messages.split_at(VCA);
        let _ = Measurements::parse(connection, rest).map(|measurements| measurements.verify(&[]));
    }
}

fn device(messages: &[Vec<u8>]) {
    let mut responder = Responder::new();
    for message in messages {
        let answer = responder.answer(&Idle, message);
        assert!(!answer.is_empty(), "a device always answers");
    }
}

fn host(messages: &[Vec<u8>]) {
    for job in [Job::Prove { nonce: [1; 32] }, Job::Csr] {
        let mut requester = Requester::new();
        let mut step = requester.start(job);
        for message in messages {
            match step {
                Ok(Step::Send(_) | Step::Wait { .. }) => step = requester.receive(message),
                _ => break,
            }
        }
    }
}
