//! The TPM's non-volatile memory: data that anybody may read and the owner may write.

use biotrust_driver_api::FtmError;
use tss_esapi::Context;
use tss_esapi::attributes::NvIndexAttributes;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind as Kind;
use tss_esapi::constants::{NvIndexType, PropertyTag};
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, ObjectHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::structures::{MaxNvBuffer, NvPublic};

use crate::connect::{handles, property};
use crate::error::{Doing, Fault, Result};

const READING: &str = "reading the TPM's memory";
const WRITING: &str = "writing the TPM's memory";

/// Bytes that fit into one command where the TPM does not say.
const CHUNK: usize = 512;

/// What an index holds; `None` where there is no such index or nothing was written to it. Uses the sessions that are
/// set.
pub(crate) fn read(context: &mut Context, index: u32) -> Result<Option<Vec<u8>>> {
    let content = with_index(context, index, |context, handle| {
        let public = context.execute_without_session(|context| context.nv_read_public(handle));
        let (public, _) = public.doing(READING)?;
        let chunk = chunk(context)?;
        let mut content = Vec::with_capacity(public.data_size());
        while content.len() < public.data_size() {
            let length = (public.data_size() - content.len()).min(chunk);
            let (length, offset) = (narrow(length)?, narrow(content.len())?);
            let part = context.nv_read(NvAuth::NvIndex(handle), handle, length, offset).doing(READING)?;
            if part.is_empty() {
                break;
            }
            content.extend_from_slice(part.value());
        }
        Ok(content)
    });
    match content {
        Err(fault) if fault.kind() == Some(Kind::NvUninitialized) => Ok(None),
        other => other,
    }
}

/// Puts `content` into an index of exactly its size, replacing what is there. A crash in between leaves no index, or one
/// that was never written.
pub(crate) fn replace(context: &mut Context, index: u32, content: &[u8]) -> Result<()> {
    remove(context, index)?;
    define(context, index, NvIndexType::Ordinary, content.len())?;
    write(context, index, content)
}

/// Writes to an index that is there and as long as `content`.
pub(crate) fn write(context: &mut Context, index: u32, content: &[u8]) -> Result<()> {
    let chunk = chunk(context)?;
    with_index(context, index, |context, handle| {
        content.chunks(chunk).enumerate().try_for_each(|(at, part)| {
            let part = MaxNvBuffer::try_from(part).doing(WRITING)?;
            context.nv_write(NvAuth::Owner, handle, part, narrow(at * chunk)?).doing(WRITING)
        })
    })
    .map(drop)
}

/// Makes an index that the owner may write and anybody may read, without a guess counting.
pub(crate) fn define(context: &mut Context, index: u32, kind: NvIndexType, size: usize) -> Result<()> {
    let attributes = NvIndexAttributes::builder()
        .with_nv_index_type(kind)
        .with_owner_write(true)
        .with_owner_read(true)
        .with_auth_read(true)
        .with_no_da(true)
        .build()
        .doing(WRITING)?;
    let public = NvPublic::builder()
        .with_nv_index(NvIndexTpmHandle::new(index).doing(WRITING)?)
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(attributes)
        .with_data_area_size(size)
        .build()
        .doing(WRITING)?;
    let made = context.nv_define_space(Provision::Owner, None, public).doing(WRITING)?;
    context.tr_close(&mut ObjectHandle::from(made)).doing(WRITING)
}

/// Adds one to a counter that is there.
pub(crate) fn increment(context: &mut Context, index: u32) -> Result<()> {
    with_index(context, index, |context, handle| context.nv_increment(NvAuth::Owner, handle).doing(WRITING))
        .map(drop)
}

/// Whether an index is there.
pub(crate) fn exists(context: &mut Context, index: u32) -> Result<bool> {
    Ok(with_index(context, index, |_, _| Ok(()))?.is_some())
}

/// Removes an index that may not be there.
pub(crate) fn remove(context: &mut Context, index: u32) -> Result<()> {
    let Some(handle) = open(context, index)? else { return Ok(()) };
    context.nv_undefine_space(Provision::Owner, handle).doing(WRITING)
}

/// Does something with an index, where there is one. The library's handle goes on every path.
fn with_index<T>(
    context: &mut Context,
    index: u32,
    work: impl FnOnce(&mut Context, NvIndexHandle) -> Result<T>,
) -> Result<Option<T>> {
    let Some(handle) = open(context, index)? else { return Ok(None) };
    let done = work(context, handle);
    let closed = context.tr_close(&mut ObjectHandle::from(handle)).doing(READING);
    let done = done?;
    closed?;
    Ok(Some(done))
}

fn open(context: &mut Context, index: u32) -> Result<Option<NvIndexHandle>> {
    let handle = TpmHandle::NvIndex(NvIndexTpmHandle::new(index).doing(READING)?);
    // Asking first keeps the library from writing about an index that may well not be there.
    if handles(context, index)?.first() != Some(&handle) {
        return Ok(None);
    }
    let opened = context.execute_without_session(|context| context.tr_from_tpm_public(handle));
    Ok(Some(opened.doing(READING)?.into()))
}

fn chunk(context: &mut Context) -> Result<usize> {
    let most = property(context, PropertyTag::NvBufferMax)?;
    Ok(usize::try_from(most).ok().filter(|most| *most > 0).unwrap_or(CHUNK).min(MaxNvBuffer::MAX_SIZE))
}

fn narrow(length: usize) -> Result<u16> {
    u16::try_from(length)
        .map_err(|_| Fault::Known(FtmError::Failed { doing: READING, why: "more than 65,535 bytes".into() }))
}
