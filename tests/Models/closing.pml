/* A part of reactor.pml: who lets go of the device, and when the arena is unmapped. */

inline close_link() {
    atomic {
        isShutDown = true;
        safe = true;
#ifdef REMOTE
        stop_device(R); abandon(0); safe = safe && ok;
        connected = false;
#endif
        stop_device(L);
        s = FIRST_LOCAL;
        do
        :: s < SLOTS -> abandon(s); safe = safe && ok; s++
        :: else -> s = 0; break
        od;
        hostEnds = true
    };
    if :: !inside :: inside -> safe = false fi;
    atomic { if :: safe -> controlMapped = false :: else fi; mustLeave = !safe || quarantined != 0; leaves = mustLeave; ok = false; wasReset = false; safe = false }
}

/* Aerator.CloseLink: whoever has the treatment lock when time is up does it when it leaves. */
inline close_link_once() {
    if
    :: atomic { !treatment -> treatment = true };
       if :: !linkClosed -> linkClosed = true; close_link() :: else fi;
       treatment = false
    :: treatment
    fi
}

inline leave() {
#ifdef LOOKS_BEFORE_LEAVING
    if :: letsGo -> ok = true :: else -> ok = false fi;
    treatment = false;
    if :: ok -> ok = false; close_link_once() :: else fi
#else
    treatment = false;
    if :: letsGo -> close_link_once() :: else fi
#endif
}

inline end_if_empty() {
    if
    :: disposed && pins == 0 && !unmapped && owner[0] != USER && owner[PAGES / 2] != USER && owner[PAGES - 1] != USER ->
        unmapped = true; mapped = leaves
    :: else
    fi
}

inline unpin() { atomic { pins--; end_if_empty() } }
