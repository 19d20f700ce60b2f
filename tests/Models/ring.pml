/* One split virtqueue between a driver and a device that both may sleep: no wake-up is lost, each request comes back exactly once.

   model                          code
   driver, "publish"              DriverQueue.TryAdd, Publish (one report at a time: ReportingQueue.TryPublish), BalloonDriver.React
   driver, "settle"               ReportingQueue.WaitForAnswer, TryReap, Sleep; DriverQueue.TryReap, EnableInterrupts, DisableInterrupts
   device, "woken" to "left"      InProcessHost.Run, Process; VirtioDevice.Serve, ServeOnce; DeviceQueue.TryTake, Complete, MustInterrupt,
                                  DisableNotifications, EnableNotifications
   PASSES                         SplitRing.Passes
   answered, work                 Signal: remembered until one waiter takes it. An eventfd (vhost-user: VhostUserSession, Vring) is the same
   store, drain, fence            x86-TSO: what a side writes waits in a first-in-first-out buffer of two places and reaches memory at any time
                                  later; Interlocked.MemoryBarrier waits until the buffer is empty. Neither side reads a word that it writes.

   Indexes wrap at MOD, not at 2^16, so that an event that was passed comes round again all the time. Without time: nobody is woken by a
   deadline, so that a wake-up that got lost is a state in which nothing moves any more, which spin reports as an invalid end state. With
   -DPROGRESS the run looks for endless executions in which nothing is reaped.
   CALLS bounds how often the device is notified while it is being served; without a bound the counter of Serve has no end.
   Left out: chains and indirect tables (a request is its slot's number), the checks of what a hostile side writes, resets (reactor.pml).

   ORDERED: no slots are written, requests come back in the order in which they were made. FLAGS: without EVENT_IDX.
   SERVERS: threads that serve the device, each notification taken by any of them.

   mutation                       what is left out
   NO_PUBLISH_BARRIER             DriverQueue.Publish: the barrier between index and event
   NO_ENABLE_INTERRUPTS_BARRIER   DriverQueue.EnableInterrupts: the barrier
   NO_INTERRUPT_BARRIER           DeviceQueue.MustInterrupt: the barrier
   NO_ENABLE_NOTIFICATIONS_BARRIER   DeviceQueue.EnableNotifications: the barrier
   NO_LOOK_BEFORE_DRIVER_SLEEPS   DriverQueue.EnableInterrupts: the look at used.idx behind it
   NO_LOOK_BEFORE_DEVICE_SLEEPS   DeviceQueue.EnableNotifications: the look at avail.idx behind it
   CLEAR_AFTER_ENABLING           ReportingQueue.Sleep: the signal is cleared before interrupts are asked for
   INDEX_BEFORE_SLOT              SplitRing: an index is written last
   EVENT_ONE_LATE                 DriverQueue.EnableInterrupts: the - 1 of the event
   LEAVES_WITHOUT_COUNTING        VirtioDevice.Serve: the count of those who came meanwhile */

#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef SERVERS
#define SERVERS 1
#endif
#if SLOTS > 2
#define RING 4
#else
#define RING 2
#endif
#define MOD 4
#define CALLS 2
#ifndef BUFFER
#define BUFFER 2
#endif

#define WRAP(x) ((x) & (MOD - 1))
#define PASSES(event, to, from) (WRAP((to) - (event) - 1) < WRAP((to) - (from)))

#ifdef ORDERED
#define store_slot(side, i, slot) skip
#define SLOT(side, i) ((i) & (RING - 1))
#else
#define store_slot(side, i, slot) store(side, RINGWORD(i), slot)
#define SLOT(side, i) side.word[RINGWORD(i)]
#endif

/* Words that a side writes: its index, what suppresses the other's notifications, its ring. */
#define IDX 0
#define EVENT 1
#define RINGWORD(i) (2 + ((i) & (RING - 1)))
#define QUIET 1

typedef Side { byte word[2 + RING]; byte at[BUFFER]; byte value[BUFFER]; byte waiting };
Side drv, dev;

bool published[RING], taken[RING];
bool answered, work, pending;
byte service;
byte takenIndex, usedIndex, signalledIndex;

inline store(side, a, v) {
    atomic { side.waiting < BUFFER -> side.at[side.waiting] = a; side.value[side.waiting] = v; side.waiting++ }
}
inline fence(side) { side.waiting == 0 }
#if BUFFER > 1
#define LAST 1
#else
#define LAST 0
#endif
inline shift(side) {
    side.at[0] = side.at[LAST]; side.value[0] = side.value[LAST]; side.at[LAST] = 0; side.value[LAST] = 0
}
inline drain(side) {
    d_step {
        side.waiting > 0 -> side.word[side.at[0]] = side.value[0];
        shift(side); side.waiting--
    }
}

active proctype driver_stores() { end: do :: drain(drv) od }
active proctype device_stores() { end: do :: drain(dev) od }

active proctype driver() {
    byte index, reaped, out, slot, seen, wanted;
#ifdef FLAGS
    drv.word[EVENT] = QUIET;
#else
    drv.word[EVENT] = WRAP(-1);
#endif
    do
    :: out < SLOTS ->
publish:
        atomic {
#ifdef ORDERED
            slot = SLOT(drv, index);
            assert(!published[slot]);
#else
            slot = 0;
            do :: published[slot] -> slot++ :: else -> break od;
#endif
            published[slot] = true; out++
        };
#ifdef INDEX_BEFORE_SLOT
        store(drv, IDX, WRAP(index + 1)); store_slot(drv, index, slot);
#else
        store_slot(drv, index, slot); store(drv, IDX, WRAP(index + 1));
#endif
        index = WRAP(index + 1); slot = 0;
#ifndef NO_PUBLISH_BARRIER
        fence(drv);
#endif
        seen = dev.word[EVENT];
        if
#ifdef FLAGS
        :: seen != QUIET
#else
        :: PASSES(seen, index, WRAP(index - 1))
#endif
            -> seen = 0; pending = true; work = true
        :: else -> seen = 0
        fi
    :: out > 0 ->
settle:
        seen = dev.word[IDX];
        if
        :: seen != reaped ->
            slot = SLOT(dev, reaped);
progress:   d_step {
                assert(WRAP(seen - reaped) <= out);
                assert(published[slot] && taken[slot]);
                published[slot] = false; taken[slot] = false; out--; reaped = WRAP(reaped + 1); seen = 0; slot = 0
            }
        :: else ->
#ifndef CLEAR_AFTER_ENABLING
            answered = false;
#endif
            wanted = (out > 2 -> out - 1 : 1);
#ifdef FLAGS
            store(drv, EVENT, 0);
#else
#ifdef EVENT_ONE_LATE
            store(drv, EVENT, WRAP(reaped + wanted));
#else
            store(drv, EVENT, WRAP(reaped + wanted - 1));
#endif
#endif
#ifndef NO_ENABLE_INTERRUPTS_BARRIER
            fence(drv);
#endif
            seen = dev.word[IDX];
#ifdef CLEAR_AFTER_ENABLING
            answered = false;
#endif
            if
#ifndef NO_LOOK_BEFORE_DRIVER_SLEEPS
            :: seen != reaped
            :: seen == reaped ->
#else
            :: true ->
#endif
                atomic { answered -> answered = false }
            fi;
            seen = 0; wanted = 0;
#ifdef FLAGS
            store(drv, EVENT, QUIET);
#else
            store(drv, EVENT, WRAP(reaped - 1));
#endif
            goto settle
        fi
    od
}

active [SERVERS] proctype device() {
    byte seen, calls, slot;
    bool again, served;
    do
    :: atomic { work -> work = false };
woken:
        /* Exchange(ref _pending, 0) */
        atomic { served = pending; pending = false };
        if :: served :: !served -> goto left fi;
        atomic {
            (dev.waiting == 0 || service > 0) && service < CALLS -> service++;
            if :: service != 1 -> goto left :: else fi
        };
        do
        :: calls = service;
            do
            ::
#ifdef FLAGS
                store(dev, EVENT, QUIET);
#endif
                do
                :: seen = drv.word[IDX];
                    if :: seen == takenIndex -> seen = 0; break :: else fi;
                    slot = SLOT(drv, takenIndex);
                    d_step {
                        assert(published[slot] && !taken[slot]);
                        taken[slot] = true; takenIndex = WRAP(takenIndex + 1)
                    };
                    store_slot(dev, usedIndex, slot);
                    atomic { store(dev, IDX, WRAP(usedIndex + 1)); usedIndex = WRAP(usedIndex + 1); slot = 0; seen = 0 };
#ifndef NO_INTERRUPT_BARRIER
                    fence(dev);
#endif
                    atomic { seen = drv.word[EVENT];
                    if
#ifdef FLAGS
                    :: seen != QUIET
#else
                    :: PASSES(seen, usedIndex, signalledIndex)
#endif
                        -> answered = true
                    :: else
                    fi;
                    signalledIndex = usedIndex; seen = 0 }
                od;
#ifdef FLAGS
                store(dev, EVENT, 0);
#else
                store(dev, EVENT, takenIndex);
#endif
#ifndef NO_ENABLE_NOTIFICATIONS_BARRIER
                fence(dev);
#endif
#ifdef NO_LOOK_BEFORE_DEVICE_SLEEPS
                again = false;
#else
                again = (drv.word[IDX] != takenIndex);
#endif
                if :: again :: else -> break fi
            od;
            /* Interlocked.Add, a full barrier */
            atomic {
                dev.waiting == 0;
#ifdef LEAVES_WITHOUT_COUNTING
                service = 0;
#else
                service = service - calls;
#endif
                again = (service != 0)
            };
            if :: again :: else -> break fi
        od;
left:   atomic { again = false; served = false; calls = 0 }
    od
}
