/* A part of reactor.pml: how the driver takes a device out of service, a report back from it, and brings it into service again. They answer in
   wasReset and ok. */

/* TryClose: no call begins any more; whoever has time waits for the one under way, or gives up. */
inline close_gate(s, hasTime) {
    atomic {
        isOpen[s] = false;
        if
        :: !isBusy[s] -> ok = true
#ifdef CLOSE_WITHOUT_WAITING
        :: isBusy[s] -> ok = true
#else
        :: isBusy[s] -> ok = false
        :: isBusy[s] && hasTime -> !isBusy[s]; ok = true
#endif
        fi;
        if :: ok -> gatePage[s] = NONE :: else fi
    }
}

inline forget_answers(d) { do :: nempty(used[d]) -> used[d]?_ :: empty(used[d]) -> break od }
inline forget_requests(d) { do :: nempty(avail[d]) -> avail[d]?_, _ :: empty(avail[d]) -> break od }

/* A reset that waits for the serving thread is one that comes later. */
inline stop_device(d) {
    atomic {
        live[d] = false;
        forget_answers(d);
        if
        :: isReset[d] -> wasReset = true
        :: !isReset[d] && d == L ->
            wasReset = !serving;
            stopping = serving;
            forget_requests(L)
        :: !isReset[d] && d == R ->
            connected = false;
#ifdef RELEASED_ON_CLOSED_SOCKET
            wasReset = true
#else
            wasReset = !holds
#endif
        fi;
        isReset[d] = wasReset
    }
}

inline abandon(s) {
    atomic {
        if :: DEVICE(s) == R -> ok = wasReset :: else -> close_gate(s, false) fi;
        if
        :: ok ->
            report[s] = 0;
            outstanding[s] = false;
            hasDropped[s] = false
        :: else
        fi
    }
}

inline revoke(s) { stop_device(DEVICE(s)); abandon(s) }

inline restart(d) {
    atomic {
        if
        :: live[d] -> ok = true
        :: !live[d] && (isShutDown || REPORTS(d)) -> ok = false
        :: else ->
            stop_device(d);
            ok = wasReset;
            if
            :: ok ->
                forget_requests(d);
                if :: d == R -> NOBODY_ELSE; connected = true; holds = true :: else fi;
                isReset[d] = false;
                live[d] = true
            :: else
            fi
        fi
    }
}
