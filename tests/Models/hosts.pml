/* A part of reactor.pml: the host in this process, which may lie, and the one elsewhere. */

/* Whoever is not scheduled any more is dead, and only fairness asks for more than that. */
#ifdef FAIR
#define MAY_STOP if :: true :: goto dead fi
#else
#define MAY_STOP skip
#endif

/* BalloonDevice's way to the arena: through whichever gate has the page. */
inline drop(p) {
    g = FIRST_LOCAL;
    do
    :: g < SLOTS ->
        atomic { ok = isOpen[g] && !isBusy[g]; seen[g] = ok };
        if
        :: ok && gatePage[g] == p ->
            atomic {
#ifdef CLAIM_WITHOUT_NUMBER
                ok = isOpen[g] && !isBusy[g];
#else
                ok = isOpen[g] && !isBusy[g] && seen[g];
#endif
                seen[g] = false;
                if :: ok -> isBusy[g] = true :: else fi
            };
            if
            :: ok ->
                MAY_STOP;
                atomic { assert(mapped && LOCKED(p)); hasDropped[g] = true };
                MAY_STOP;
                isBusy[g] = false;
                break
            :: else -> g++
            fi
        :: else -> atomic { seen[g] = false; g++ }
        fi
    :: else -> break
    od;
    atomic { g = 0; ok = false }
}

#ifdef LIES
byte lies;
inline lie() { atomic { lies < LIES -> lies++ } }
#endif

inline answer(d, s) { atomic { if :: live[d] && nfull(used[d]) -> used[d]!s :: !live[d] || full(used[d]) fi } }

active proctype local_host() {
    byte s, p, g;
    bool ok;
    do
    :: atomic { nempty(avail[L]) && !isReset[L] && !stopping && !hostEnds -> serving = true; inside = true; avail[L]?s, p };
       MAY_STOP;
       if
       :: drop(p); MAY_STOP; answer(L, s)
#ifdef LIES
       :: lie() -> answer(L, s); MAY_STOP; drop(p)
       :: lie() -> drop(p)
       :: lie() -> answer(L, s); answer(L, s)
#endif
       fi;
       atomic { serving = false; inside = false; s = 0; p = 0 }
#ifdef LIES
    :: atomic { !hostEnds && lies < LIES -> lies++; inside = true; if :: p = 0 :: p = PAGES / 2 :: p = PAGES - 1 fi };
       drop(p);
       atomic { inside = false; p = 0 }
#endif
    :: hostEnds -> break
    od;
    goto dead;
dead:
end: false
}

#ifdef REMOTE
#ifdef FAIR
#define MAY_DIE if :: true :: goto dies :: goto hangs fi
#else
#define MAY_DIE if :: true :: goto dies fi
#endif

active proctype remote_host() {
    byte s, p;
end:
    do
    :: atomic { holds && nempty(avail[R]) -> avail[R]?s, p };
       MAY_DIE;
       assert(LOCKED(p));
       MAY_DIE;
       answer(R, s);
       atomic { s = 0; p = 0 }
    :: holds && !connected -> holds = false
    :: connected -> atomic { connected = false; live[R] = false }
    :: holds -> goto dies
#ifdef FAIR
    :: holds -> goto hangs
#endif
    od;
dies:
    atomic { s = 0; p = 0; holds = false; if :: connected -> connected = false; live[R] = false :: else fi };
    goto end;
hangs:
end2: false
}
#endif
