//! An artifact's bytes, in the bucket.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use sandbox_core::ArtifactContent;

use crate::service::causes;
use crate::store::Store;
use crate::trace;

/// An object. Whoever reads it compares size and digest.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) store: Store,
    pub(crate) key: String,
}

impl ArtifactContent for Object {
    fn stream(&self) -> BoxStream<'static, io::Result<Bytes>> {
        let get = self.store.client.get_object().bucket(&self.store.bucket).key(&self.key);
        let span = trace::s3("GetObject", &self.store.bucket, &self.key);
        let opened = async move {
            let found = trace::call(span, get.send())
                .await
                .map_err(|error| io::Error::other(causes(&error)))?;
            Ok(stream::try_unfold(found.body, |mut body| async move {
                match body.next().await {
                    None => Ok(None),
                    Some(Ok(chunk)) => Ok(Some((chunk, body))),
                    Some(Err(error)) => Err(io::Error::other(error)),
                }
            }))
        };
        stream::once(opened)
            .flat_map(|opened: io::Result<_>| match opened {
                Ok(body) => body.left_stream(),
                Err(error) => stream::once(async move { Err(error) }).right_stream(),
            })
            .boxed()
    }
}
