//! How many requests are worked on at once, how many wait for a read model, and how much room large bodies have.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::CONTENT_LENGTH;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::authentication::Principal;
use crate::fair_share::{FairShare, FairSharePermit, Room};
use crate::problem::{Problem, ProblemKind};

/// Large bodies that are received or worked on at once, in KiB together.
const BODY_ROOM_KIB: usize = 16 * 1024;
/// A body below this needs no room.
const SMALL_BODY_KIB: u32 = 64;
/// What a body of unknown length counts as: no route takes more.
const LARGEST_BODY: usize = bus::streams::LARGEST_COMMAND;
/// How long a request waits for a permit before it is refused.
const LONGEST_QUEUE: Duration = Duration::from_secs(2);

/// The permits of all requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Permits(Arc<Inner>);

struct Inner {
    /// Requests that are worked on at once.
    requests: FairShare,
    /// Requests that wait for a read model at once.
    waits: FairShare,
    /// Room for large bodies, in KiB.
    bodies: Semaphore,
}

tokio::task_local! {
    /// The permit of the request that this task works on; none while it waits.
    static PERMIT: RefCell<Option<FairSharePermit>>;
}

impl Permits {
    /// So many requests at once, worked on and waiting.
    pub(crate) fn new(requests: Room, waits: Room) -> Self {
        Self(Arc::new(Inner {
            requests: FairShare::new("requests", requests),
            waits: FairShare::new("requests that wait for a read model", waits),
            bodies: Semaphore::new(BODY_ROOM_KIB),
        }))
    }

    /// Waits without the permit of the request at hand, as a request that waits does no work. So requests that wait never
    /// keep out those for which they wait. Waits have a bound of their own.
    ///
    /// # Errors
    /// That of the wait; 429 and 503 when there is no room to wait, or no permit afterwards.
    pub(crate) async fn without_one(&self, wait: impl Future<Output = Result<(), Problem>>) -> Result<(), Problem> {
        let permit = PERMIT.try_with(|permit| permit.borrow_mut().take()).ok().flatten();
        let Some(permit) = permit else { return wait.await };
        let place = self.0.waits.take(&permit.holder, Duration::ZERO).await?;
        drop(permit);
        wait.await?;
        let permit = self.0.requests.take(&place.holder, LONGEST_QUEUE).await?;
        PERMIT.with(|given| given.replace(Some(permit)));
        Ok(())
    }

    /// Room for a body of so many KiB while it is received and worked on, as it takes several times its size in memory. A
    /// small body needs none.
    async fn room_for_body(&self, kib: u32) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        if kib < SMALL_BODY_KIB {
            return Ok(None);
        }
        let room = tokio::time::timeout(LONGEST_QUEUE, self.0.bodies.acquire_many(kib)).await;
        let full = || Problem::unavailable("There are too many large bodies at the moment.", Duration::from_secs(1));
        room.ok().and_then(Result::ok).map(Some).ok_or_else(full)
    }
}

/// How large a request's body may be, in KiB.
fn body_kib(request: &Request) -> u32 {
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let bytes = match declared {
        Some(declared) => declared,
        None if request.body().is_end_stream() => 0,
        None => LARGEST_BODY,
    };
    u32::try_from(bytes.min(LARGEST_BODY) / 1024).unwrap_or(u32::MAX)
}

/// Bounds the requests that are worked on at once, in total and of each principal, and the bytes of their large bodies. A
/// request without permit or room in time is answered with 429 or 503 and `Retry-After`.
pub(crate) async fn queue(State(permits): State<Permits>, request: Request, next: Next) -> Result<Response, Problem> {
    let _room = permits.room_for_body(body_kib(&request)).await?;
    let principal = request.extensions().get::<Principal>().cloned();
    let principal =
        principal.ok_or_else(|| Problem::new(ProblemKind::Unauthenticated, "This needs a key or a token."))?;
    let permit = permits.0.requests.take(&principal, LONGEST_QUEUE).await?;
    Ok(PERMIT.scope(RefCell::new(Some(permit)), next.run(request)).await)
}
