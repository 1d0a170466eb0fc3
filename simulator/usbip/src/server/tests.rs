use std::time::Instant;

use biotrust_driver_api::UsbPort as _;

use super::*;
use crate::testing::{IN, Loopback, OUT};

const PATIENCE: Duration = Duration::from_secs(10);

fn server() -> (Server, Gadget<dyn UsbDevice>, String) {
    let server = Server::start(("127.0.0.1", 0)).unwrap();
    let gadget = Gadget::new(Loopback::default()).unwrap().erase();
    let id = server.export(&gadget);
    (server, gadget, id)
}

fn listed(server: &Server) -> Vec<u8> {
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.write_all(&head(REQUEST_LIST, 0)).unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    reply
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn the_list_is_laid_out_as_the_protocol_says() {
    let (server, _gadget, id) = server();
    assert_eq!(id, "1-1");
    let reply = listed(&server);
    assert_eq!(reply.len(), 12 + RECORD + 4);
    assert_eq!(reply[..12], [1, 0x11, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1]);
    let record = &reply[12..];
    assert_eq!(record[PATH..PATH + 4], *b"1-1\0");
    let numbers = &record[PATH + BUS_ID..];
    assert_eq!(numbers[..12], [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2]);
    assert_eq!(numbers[12..18], [0x12, 0x09, 0x00, 0x01, 0, 0], "vendor, product, release");
    assert_eq!(numbers[21..], [1, 1, 1, 0xff, 0, 0, 0], "configuration, its number, interfaces, the first");
}

#[test]
fn a_device_is_imported_by_one_client_at_a_time() {
    let (server, gadget, id) = server();
    let port = import_from(server.address(), &id).unwrap();
    port.claim(0).unwrap();
    port.write(OUT, b"over TCP", PATIENCE).unwrap();
    assert_eq!(port.read(IN, 64, PATIENCE).unwrap(), b"over TCP");
    assert!(import_from(server.address(), &id).is_err());
    assert_eq!(listed(&server)[11], 0, "what is in use is not listed");
    drop(port);
    until("it is free again", || !gadget.is_plugged());
    assert!(import_from(server.address(), &id).is_ok());
}

#[test]
fn a_device_that_is_withdrawn_is_gone() {
    let (server, gadget, id) = server();
    let port = import_from(server.address(), &id).unwrap();
    port.claim(0).unwrap();
    port.submit(IN, 64).unwrap();
    server.withdraw(&id);
    assert_eq!(port.complete(IN, PATIENCE).unwrap_err().kind, PipeErrorKind::Gone);
    assert!(!gadget.is_plugged());
    let error = import_from(server.address(), &id).err().unwrap();
    assert!(error.doing.contains("no such device"), "{}", error.doing);
}

#[test]
fn clients_that_talk_nonsense_are_hung_up_on() {
    let (server, _gadget, id) = server();
    for nonsense in [&[0u8; 8][..], &[1, 0x11, 0x80, 9, 0, 0, 0, 0], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut client = TcpStream::connect(server.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(nonsense).unwrap();
        let mut rest = Vec::new();
        // Reset or end, but neither an answer nor silence.
        let ended = client.read_to_end(&mut rest);
        assert!(rest.is_empty());
        assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset));
    }
    assert!(import_from(server.address(), &id).is_ok(), "others are served");
}

#[test]
fn the_end_of_the_server_is_the_end_of_its_devices() {
    let (server, gadget, id) = server();
    let port = import_from(server.address(), &id).unwrap();
    port.claim(0).unwrap();
    port.submit(IN, 64).unwrap();
    drop(server);
    assert_eq!(port.complete(IN, PATIENCE).unwrap_err().kind, PipeErrorKind::Gone);
    assert!(!gadget.is_plugged());
}
