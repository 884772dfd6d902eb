//! Halves of several kinds behind one type: an enumeration with a half in each variant is a half itself.

/// Makes an enumeration an [`Ingress`](crate::port::Ingress) by what its variants hold:
/// `ingress_of_whichever!([I: Ingress] Incoming<I>: Queue, Handed)`.
#[macro_export]
macro_rules! ingress_of_whichever {
    ([$($parameters:tt)*] $kind:ty: $($variant:ident),+) => {
        impl<$($parameters)*> $crate::port::Ingress for $kind {
            #[inline]
            fn look(&mut self, now_ns: u64) -> usize {
                match self { $(Self::$variant(half) => $crate::port::Ingress::look(half, now_ns),)+ }
            }

            #[inline]
            fn oldest_ns(&self) -> Option<u64> {
                match self { $(Self::$variant(half) => $crate::port::Ingress::oldest_ns(half),)+ }
            }

            fn capacity(&self) -> usize {
                match self { $(Self::$variant(half) => $crate::port::Ingress::capacity(half),)+ }
            }

            #[inline]
            fn take(&mut self) -> Option<$crate::port::Arrival> {
                match self { $(Self::$variant(half) => $crate::port::Ingress::take(half),)+ }
            }

            #[inline]
            fn bytes(&self, arrival: &$crate::port::Arrival) -> &[u8] {
                match self { $(Self::$variant(half) => $crate::port::Ingress::bytes(half, arrival),)+ }
            }

            #[inline]
            fn give_back(&mut self, arrival: $crate::port::Arrival) {
                match self { $(Self::$variant(half) => $crate::port::Ingress::give_back(half, arrival),)+ }
            }

            fn arm(&mut self) -> bool {
                match self { $(Self::$variant(half) => $crate::port::Ingress::arm(half),)+ }
            }

            fn lost(&self) -> u64 {
                match self { $(Self::$variant(half) => $crate::port::Ingress::lost(half),)+ }
            }
        }
    };
}

/// Makes an enumeration an [`Egress`](crate::port::Egress), as [`ingress_of_whichever`](crate::ingress_of_whichever).
#[macro_export]
macro_rules! egress_of_whichever {
    ([$($parameters:tt)*] $kind:ty: $($variant:ident),+) => {
        impl<$($parameters)*> $crate::port::Egress for $kind {
            fn offloads(&self) -> $crate::port::Offloads {
                match self { $(Self::$variant(half) => $crate::port::Egress::offloads(half),)+ }
            }

            fn mtu(&self) -> usize {
                match self { $(Self::$variant(half) => $crate::port::Egress::mtu(half),)+ }
            }

            #[inline]
            fn room(&self) -> usize {
                match self { $(Self::$variant(half) => $crate::port::Egress::room(half),)+ }
            }

            fn capacity(&self) -> usize {
                match self { $(Self::$variant(half) => $crate::port::Egress::capacity(half),)+ }
            }

            #[inline]
            fn queue(&mut self, frame: $crate::port::Frame<'_>) -> Result<u64, $crate::port::Full> {
                match self { $(Self::$variant(half) => $crate::port::Egress::queue(half, frame),)+ }
            }

            #[inline]
            fn kick(&mut self) -> bool {
                match self { $(Self::$variant(half) => $crate::port::Egress::kick(half),)+ }
            }

            #[inline]
            fn completed(&mut self) -> u64 {
                match self { $(Self::$variant(half) => $crate::port::Egress::completed(half),)+ }
            }

            fn remind(&mut self) {
                match self { $(Self::$variant(half) => $crate::port::Egress::remind(half),)+ }
            }
        }
    };
}
