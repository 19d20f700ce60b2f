/* The reactor over the ring, with everything that starts, stops, closes, dies, stalls or lies around it.

   The parts: driver.pml, closing.pml, program.pml, hosts.pml.

   model                          code
   worker                         Worker.Run; Aerator.Pass; TreatmentDrive.Run; Reactor.Round, FillAndReact, SettleOne, SettleAll, GiveUp
   fill, decant, quarantine       Zone.FillLocked, DecantLocked, QuarantineLocked, each under one hold of the zone lock; Reactor.Lose
   release_quarantine             Reactor.TryReleaseQuarantine, Zone.ReleaseQuarantinedLocked
   react, settle                  BalloonDriver.React, Settle; ReportingQueue.TryPublish, Settle, WaitForAnswer; DriverQueue.TryReap, Judge
   revoke, abandon                BalloonDriver.TryRevoke; ReportingQueue.TryAbandon
   stop_device, reset             BalloonDriver.TryStop, Reset; VirtioDevice.TryReset; VhostUserTransport.TryReset, Close, TryAcknowledge
   restart                        BalloonDriver.TryRestart, Negotiate; HostLink.TryConnect
   open, close_gate, drop         DiscardGate.TryOpen, TryClose, TryDiscard; DiscardGates.Discard
   seen                           that the state which was read is still the gate's: the request number of the compare-exchange, without its end
   local_host                     InProcessHost.Run; VirtioDevice.ServeOnce; BalloonDevice.Report; it may lie, stall and stop for ever anywhere
   remote_host                    a process that shares the memfd; it may stall, die, close, hang for ever anywhere, but does not punch after "used"
   current, takes                 SwitchedDevice.Current, Takes, React, Settle
   control, disposer              Aerator.Start, Stop; PageArena.Dispose, Aerator.Close
   leave, close_link_once         Aerator.Leave, CloseLink
   close_link                     HostLink.TryClose; BalloonLink.TryClose: BalloonDriver.TryShutDown, InProcessHost.TryStop
   pins, unpin, end_if_empty      PageArena.TryPin, Unpin, EndIfEmpty
   user                           PageArena.AllocatePages, FreePages
   holds                          the host's open file description, whose absence the kernel's lease tells (IDescriptors.IsAlone)
   live                           BalloonDriver.IsInOrder: a fault of the ring and NEEDS_RESET end it, and nothing but a restart brings it back
   mapped, controlMapped          the arena, and the rings of a host elsewhere (HostLink's control memory)

   Without time: whatever waits with a deadline may give up at any moment, so each order of events has every timing. A batch is one page.
   A thread that is not scheduled any more is one that stalled or died; only where the formulas below ask for fairness does dying have steps of
   its own. What the holder of the treatment lock does to its own state alone is one step with what it does to the shared state next.
   Left out: zones, types and orders; the balloon and the statistics queue; wake-ups (ring.pml: here a host sees what is published);
   hostile indexes beyond an answer that was not owed; indirect tables; a second thread that treats (Trim: a pass like any other).

   REMOTE: slot 0 belongs to a host elsewhere, slot 1 to this process's own device; else both slots are the latter's.
   DISPOSE: the arena is disposed at some time. LIES: so often the host in this process answers first and drops later, drops something else,
   answers twice. STOPS: so often treatment is stopped. ROUNDS: so many rounds has a pass; else as many as there is something to treat.

   mutation                       what is left out
   CLOSE_WITHOUT_WAITING          DiscardGate.TryClose: while busy, wait
   CLAIM_WITHOUT_NUMBER           DiscardGate.TryDiscard: the request's number in the compare-exchange
   DECANT_BEFORE_SETTLE           Reactor: a page goes back to the free list when the device was told, not when it has answered
   RELEASED_ON_CLOSED_SOCKET      VhostUserTransport.TryAcknowledge: the lease; a closed socket is taken for the host's end
   NEVER_ASKS_AGAIN               Reactor.MayBegin: what is quarantined is asked for again
   LEAVES_IT_IN_FLIGHT            Reactor.SettleOne: GiveUp
   CLOSE_BESIDE_A_PASS            Aerator.Close: the treatment lock
   START_BEFORE_CLOSED            Aerator.Close: no start is taken from before Stop on
   PASS_WITHOUT_PIN               Aerator.Pass: the pin
   LOOKS_BEFORE_LEAVING           Aerator.Leave: looks whether to let go only when the lock is free again
   LETS_GO_TOO_EARLY              Aerator.Close: the lock's holders are told after Stop has taken back what was quarantined */

#ifndef PAGES
#define PAGES 3
#endif
#ifdef ROUNDS
#define count_round() rounds++
#define ENOUGH (rounds == ROUNDS)
#else
#define count_round() skip
#define ENOUGH false
#endif
#ifndef WORKERS
#define WORKERS 1
#endif
#ifdef STOPS
byte stops;
#define count_stop() stops++
#define MAY_STOP_AGAIN (stops < STOPS)
#else
#define count_stop() skip
#define MAY_STOP_AGAIN true
#endif
#define SLOTS 2
#define NONE 7

/* Owners of a page. */
#define RAW 0
#define TREATED 1
#define TAKEN 2
#define QUARANTINED 3
#define USER 4

/* What the kernel's lease says before memory is shared anew. */
#ifdef RELEASED_ON_CLOSED_SOCKET
#define NOBODY_ELSE skip
#else
#define NOBODY_ELSE assert(!holds)
#endif

/* Devices, and whose a slot is. */
#define L 0
#define R 1
#ifdef REMOTE
#define DEVICE(s) ((s) == 0 -> R : L)
#define FIRST_LOCAL 1
#else
#define DEVICE(s) L
#define FIRST_LOCAL 0
#endif

/* States of a report (ReportingQueue.ReportState). */
#define PUBLISHED 1
#define ANSWERED 2

#ifdef REMOTE
#define REPORTS(d) ((d) == R -> report[0] != 0 : report[1] != 0)
#else
#define REPORTS(d) (report[0] != 0 || report[1] != 0)
#endif
#define LOCKED(p) (owner[p] == TAKEN || owner[p] == QUARANTINED)

byte owner[PAGES];
byte batch[SLOTS] = NONE;
bool isQuarantined[SLOTS];
byte inFlight, quarantined;

byte report[SLOTS];
bool outstanding[SLOTS];
bool live[2], isReset[2], isShutDown;
chan avail[2] = [SLOTS] of { byte, byte };
chan used[2] = [3] of { byte };

bool isOpen[SLOTS], isBusy[SLOTS], hasDropped[SLOTS];
bool seen[SLOTS];
byte gatePage[SLOTS] = NONE;
bool stopping, serving, inside, hostEnds;

bool connected, holds;
bool isRemote;

bool treatment, starting, running, closed, letsGo, linkClosed, mustLeave, disposed, unmapped, mapped = true, leaves;
bool controlMapped = true;
byte pins, currentWorker;
bool isAlive[WORKERS], mustEnd[WORKERS];

inline lock(x) { atomic { !x -> x = true } }

/* Every page that the reactor has is in one batch, and no other page is. */
#define HAS(s, p) (batch[s] == (p))
#define OWNED_ONCE(p) ((HAS(0, p) + HAS(1, p)) == LOCKED(p) \
    && (owner[p] == QUARANTINED) == ((HAS(0, p) && isQuarantined[0]) || (HAS(1, p) && isQuarantined[1])))
inline check() { assert(OWNED_ONCE(0) && OWNED_ONCE(PAGES / 2) && OWNED_ONCE(PAGES - 1)) }

inline give_back(s, from, to) {
    atomic {
        assert(mapped && owner[batch[s]] == from);
        owner[batch[s]] = to;
        batch[s] = NONE;
        quarantined = quarantined - isQuarantined[s];
        isQuarantined[s] = false;
        check()
    }
}

#include "driver.pml"

inline release_quarantine() {
    atomic {
        s = 0;
        do
        :: s < SLOTS ->
            if
#ifdef NEVER_ASKS_AGAIN
            :: false
#else
            :: isQuarantined[s] -> revoke(s); if :: ok -> give_back(s, QUARANTINED, RAW) :: else fi
#endif
            :: else
            fi;
            s++
        :: else -> break
        od;
        s = 0; ok = false; wasReset = false
    }
}

inline current() {
#ifdef REMOTE
    if :: inFlight == 0 -> isRemote = live[R] :: else fi
#else
    skip
#endif
}

#ifdef REMOTE
#define TAKES(s) (isRemote == (DEVICE(s) == R))
#define DEVICE_NOW (isRemote -> R : L)
#else
#define TAKES(s) true
#define DEVICE_NOW L
#endif

/* Fills batch s and publishes it. lost: the device would not hear, and the page is raw again. */
inline fill_and_react() {
    atomic {
        assert(mapped && batch[s] == NONE);
        none = true;
        p = 0;
        do
        :: p < PAGES && owner[p] == RAW -> owner[p] = TAKEN; batch[s] = p; none = false; check(); break
        :: p < PAGES && owner[p] != RAW -> p++
        :: p == PAGES -> break
        od
    };
    if
    :: none
    :: else ->
        atomic {
            d = DEVICE(s);
            ok = live[d] && report[s] == 0;
            if
            :: !ok || REPORTS(d) || empty(used[d])
            :: ok && !REPORTS(d) && nempty(used[d]) -> used[d]?_; live[d] = false; ok = false
            fi;
            if
            :: ok && d == L ->
                ok = !isOpen[s] && !isBusy[s];
                if :: ok -> gatePage[s] = p; seen[s] = false; isOpen[s] = true :: else fi
            :: else
            fi;
            if
            :: ok ->
                assert(mapped && (controlMapped || d == L));
                outstanding[s] = true; report[s] = PUBLISHED;
                avail[d]!s, p;
                inFlight++;
#ifdef DECANT_BEFORE_SETTLE
                owner[p] = TREATED
#endif
            :: else -> lost = true; give_back(s, TAKEN, RAW)
            fi;
            p = 0; d = 0
        }
    fi
}

/* Waits for one report of the device in use: s is its slot, or timedOut. */
inline wait_for_answer() {
    timedOut = false;
    s = 0;
    do
    :: s < SLOTS -> if :: report[s] == ANSWERED && DEVICE(s) == d -> break :: else -> s++ fi
    :: else ->
        if
        :: atomic {
               nempty(used[d]) -> used[d]?s;
               assert(mapped && (controlMapped || d == L));
               if
               :: !outstanding[s] -> live[d] = false; timedOut = true
               :: else ->
                   outstanding[s] = false;
                   if :: report[s] == PUBLISHED -> report[s] = ANSWERED :: else -> s = SLOTS fi
               fi
           };
           if :: timedOut || s < SLOTS -> break :: else fi
        :: atomic { true -> assert(mapped && (controlMapped || d == L)); timedOut = true; break }
        fi
    od;
    if
    :: !timedOut && d == L -> close_gate(s, true); timedOut = !ok
    :: else
    fi
}

inline give_up() {
    atomic {
    lost = true;
    s = 0;
    do
    :: s < SLOTS ->
        if
        :: batch[s] != NONE && !isQuarantined[s] ->
            inFlight--;
            revoke(s);
            if
            :: ok -> give_back(s, TAKEN, RAW)
            :: else ->
                atomic { assert(mapped && owner[batch[s]] == TAKEN); owner[batch[s]] = QUARANTINED; isQuarantined[s] = true; quarantined++; check() }
            fi
        :: else
        fi;
        s++
    :: else -> break
    od
    }
}

inline settle() {
    d = DEVICE_NOW;
    wait_for_answer();
    if
#ifdef LEAVES_IT_IN_FLIGHT
    :: timedOut -> lost = true
#else
    :: timedOut -> give_up()
#endif
    :: else ->
        atomic { report[s] = 0; inFlight-- };
        if
        :: d == R || hasDropped[s] -> hasDropped[s] = false; give_back(s, TAKEN, TREATED)
        :: else -> lost = true; give_back(s, TAKEN, RAW)
        fi
    fi;
    atomic { s = 0; d = 0; timedOut = false }
}

#include "closing.pml"

active [WORKERS] proctype worker() {
    byte p, s, d, rounds;
    bool ok, lost, none, timedOut, wasReset, safe;
idle:
    do
    :: atomic { isAlive[_pid] && mustEnd[_pid] -> isAlive[_pid] = false; mustEnd[_pid] = false }
    :: atomic {
           isAlive[_pid] && !mustEnd[_pid];
#ifndef PASS_WITHOUT_PIN
           if :: disposed -> goto idle :: else -> pins++ fi
#endif
       };
       lock(treatment);
       if
       :: running ->
           assert(mapped);
#ifdef REMOTE
           if
           :: live[R]
           :: !live[R]
           :: !live[R] -> stop_device(R); if :: wasReset -> restart(R) :: else fi
           fi;
#endif
           do
           :: inFlight == 0 ->
               /* Reactor.MayBegin */
               if :: lost || ENOUGH || !running -> break :: else fi;
               atomic {
                   if :: quarantined != 0 -> release_quarantine() :: else fi;
                   current();
                   ok = live[DEVICE_NOW];
                   if
                   :: ok
                   :: else -> restart(L); current(); if :: ok :: else -> break fi
                   fi
               };
fill:          s = 0;
               do
               :: s < SLOTS ->
                   atomic { current(); ok = batch[s] == NONE && live[DEVICE_NOW] && TAKES(s); none = false };
                   if :: ok -> fill_and_react() :: else fi;
                   if :: lost || none -> break :: else -> s++ fi
               :: else -> break
               od;
               s = 0;
               if :: inFlight == 0 -> break :: else fi
           :: inFlight != 0 ->
               settle();
#ifdef LEAVES_IT_IN_FLIGHT
               if :: lost -> break :: else fi;
#endif
               if
               :: lost || ENOUGH || !running
               :: else -> count_round(); if :: inFlight != 0 -> goto fill :: else fi
               fi
           od
#ifndef LEAVES_IT_IN_FLIGHT
           ; assert(inFlight == 0)
#endif
       :: else
       fi;
       atomic { rounds = 0; lost = false; ok = false; none = false; wasReset = false };
       leave();
#ifndef PASS_WITHOUT_PIN
       unpin()
#endif
    od
}

#include "program.pml"
#include "hosts.pml"

#ifdef FAIR
#define AT_REST (!treatment && inFlight == 0)
#ifdef REMOTE
#define MAY_TOUCH holds
#else
#define MAY_TOUCH isBusy[0]
#endif

/* Whenever treatment is off, the reactor comes to rest. */
ltl rests { [] (!running -> <> (running || AT_REST)) }

/* A batch comes back, or is quarantined. */
ltl comes_back { [] (batch[0] != NONE -> <> (batch[0] == NONE || isQuarantined[0])) }

/* Quarantine ends where treatment goes on and the device lets go. */
ltl is_released { (<>[] (isQuarantined[0] && running)) -> ([]<> MAY_TOUCH) }

#ifdef DISPOSE
/* Dispose ends; the arena is unmapped when its last page has come back, but for what a device may still touch. */
ltl closes { (<>[] (owner[0] != USER)) -> (<>[] (linkClosed && !starting && !treatment && unmapped && mapped == leaves && leaves == mustLeave)) }
#endif
#endif
