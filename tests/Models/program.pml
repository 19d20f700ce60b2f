/* A part of reactor.pml: the program, which allocates and frees, starts and stops treatment, and disposes the arena. */

inline stop_treatment() {
    if
    :: running ->
        atomic { running = false; mustEnd[currentWorker] = true };
        if :: !isAlive[currentWorker] :: true fi;
        if
        :: lock(treatment); release_quarantine(); treatment = false
        :: treatment
        fi
    :: else
    fi
}

active proctype control() {
    byte s;
    bool ok, wasReset;
    atomic { live[L] = true; isReset[R] = true };
end:
    do
    :: !running && !closed -> lock(starting);
       if
       :: closed || running
       :: else ->
           if
           :: atomic { !isAlive[0] -> currentWorker = 0; isAlive[0] = true; running = true }
#if WORKERS > 1
           :: atomic { !isAlive[1] -> currentWorker = 1; isAlive[1] = true; running = true }
           :: isAlive[0] && isAlive[1]
#else
           :: isAlive[0]
#endif
           fi
       fi;
       starting = false
    :: running && MAY_STOP_AGAIN -> lock(starting); stop_treatment(); atomic { ok = false; wasReset = false; starting = false; count_stop() }
    od
}

#ifdef DISPOSE
active proctype disposer() {
    byte s;
    bool ok, wasReset, safe;
    atomic { pins++; disposed = true };
#ifdef START_BEFORE_CLOSED
    lock(starting); stop_treatment(); starting = false;
#endif
    lock(starting);
    closed = true;
#ifdef LETS_GO_TOO_EARLY
    letsGo = true;
#endif
#ifndef START_BEFORE_CLOSED
    stop_treatment();
#endif
#ifdef CLOSE_BESIDE_A_PASS
    linkClosed = true; close_link();
#else
    leaves = true;
    letsGo = true;
    close_link_once();
#endif
    starting = false;
    unpin()
}
#endif

active proctype user() {
    byte p;
end:
    do
    :: atomic { !disposed; p = 0; do :: p < PAGES && owner[p] > TREATED -> p++ :: else -> break od; if :: p < PAGES -> owner[p] = USER :: else fi; p = 0 }
    :: atomic { p = 0; do :: p < PAGES && owner[p] != USER -> p++ :: else -> break od; if :: p < PAGES -> owner[p] = RAW; end_if_empty() :: else fi; p = 0 }
    od
}
