using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Native;

namespace LowLevel.Tests.Fakes;

/// <summary>A balloon and its device whose answers the test scripts, and which remembers what it was asked. Nothing is dropped unless
/// the test's <see cref="WhileHeld"/> does it. It checks the seam's contract from its own side: one batch in a slot, one caller at a
/// time, no settling of what was not published. Properties may be changed at any time.</summary>
internal sealed class FakeBalloon : IBalloonLink, ITreatmentDevice
{
    private readonly Lock _guard = new();
    private readonly List<PageRange[]> _batches = [];
    private readonly List<string> _violations = [];
    private readonly Dictionary<int, PageRange[]> _held = [];
    private int _inside;

    public ITreatmentDevice Device => this;

    public ulong InflatedPages { get; set; }

    public Action? WorkArrived { get; set; }

    /// <summary>What the device takes per batch.</summary>
    public int Capacity { get; set; } = 32;

    /// <summary>Whether passes look at the memory of the test's operating system.</summary>
    public bool WatchesMemory { get; init; }

    /// <summary>Batches that it takes at one time.</summary>
    public int InFlightMax { get; set; } = 1;

    /// <summary>Which of the slots that it has, in ascending order, it answers for next.</summary>
    public Func<IReadOnlyList<int>, int> Order { get; set; } = static slots => slots[0];

    /// <summary>The most batches that it had at one time.</summary>
    public int InFlightPeak { get; private set; }

    /// <summary>Whether <see cref="React"/> publishes.</summary>
    public bool Accepts { get; set; } = true;

    /// <summary>The answer to each batch.</summary>
    public Func<SettleResult> Answer { get; set; } = static () => SettleResult.Treated;

    /// <summary>Whether the device lets go of what it did not answer.</summary>
    public bool Revokes { get; set; } = true;

    /// <summary>Which slots it lets go of.</summary>
    public Func<int, bool> RevokesSlot { get; set; } = static _ => true;

    /// <summary>The capacity after a restart; null: it stays out of service.</summary>
    public int? CapacityAfterRestart { get; set; }

    /// <summary>Whether <see cref="TryClose"/> succeeds.</summary>
    public bool Closes { get; set; } = true;

    /// <summary>Runs in <see cref="React"/>.</summary>
    public Action? OnReact { get; set; }

    /// <summary>Runs in <see cref="Settle"/> while the device has the batch.</summary>
    public Action<IReadOnlyList<PageRange>>? WhileHeld { get; set; }

    /// <summary>Runs in <see cref="Service"/>.</summary>
    public Action? OnService { get; set; }

    /// <summary>The answer to <see cref="Deflate"/>.</summary>
    public Func<uint, uint> OnDeflate { get; set; } = static _ => 0;

    /// <summary>The batches that were published, in order.</summary>
    public IReadOnlyList<PageRange[]> Batches
    {
        get
        {
            lock (_guard)
            {
                return [.. _batches];
            }
        }
    }

    /// <summary>Every range of every batch, in order.</summary>
    public IReadOnlyList<PageRange> Ranges => [.. Batches.SelectMany(static batch => batch)];

    /// <summary>Breaches of the seam's contract by the caller; a test asserts that there are none.</summary>
    public IReadOnlyList<string> Violations
    {
        get
        {
            lock (_guard)
            {
                return [.. _violations];
            }
        }
    }

    /// <summary>Threads that called <see cref="React"/>.</summary>
    public HashSet<int> ReactingThreads { get; } = [];

    public int Reacts { get; private set; }

    public int Services { get; private set; }

    public int Revocations { get; private set; }

    public int Restarts { get; private set; }

    public int CloseCalls { get; private set; }

    /// <summary>The longest wait that any call asked for.</summary>
    public TimeSpan LongestWait { get; private set; }

    public bool React(ReadOnlySpan<PageRange> batch, int slot)
    {
        using Visit visit = new(this, nameof(React));
        Reacts++;
        PageRange[] copy = batch.ToArray();
        OnReact?.Invoke();
        lock (_guard)
        {
            ReactingThreads.Add(Environment.CurrentManagedThreadId);
            Require(slot >= 0 && slot < InFlightMax && !_held.ContainsKey(slot), $"React in slot {slot} of {InFlightMax}, which is taken or none");
            Require(copy.Length >= 1 && copy.Length <= Math.Max(Capacity, 1), $"React of {copy.Length} blocks with a capacity of {Capacity}");
            if (!Accepts)
            {
                return false;
            }

            _batches.Add(copy);
            _held[slot] = copy;
            InFlightPeak = Math.Max(InFlightPeak, _held.Count);
            return true;
        }
    }

    public SettleResult Settle(TimeSpan timeout, out int slot)
    {
        using Visit visit = new(this, nameof(Settle));
        Note(timeout);
        Require(_held.Count != 0, "Settle without a batch");
        slot = _held.Count == 0 ? -1 : Order([.. _held.Keys.Order()]);
        WhileHeld?.Invoke(_held.GetValueOrDefault(slot) ?? []);
        SettleResult answer = Answer();
        if (answer != SettleResult.TimedOut)
        {
            _held.Remove(slot);
        }

        return answer;
    }

    public bool TryRevoke(int slot, TimeSpan timeout)
    {
        using Visit visit = new(this, nameof(TryRevoke));
        Note(timeout);
        Revocations++;
        Require(_held.ContainsKey(slot), $"TryRevoke of slot {slot}, which has no batch");
        bool revokes = Revokes && RevokesSlot(slot);
        if (revokes)
        {
            _held.Remove(slot);
        }

        return revokes;
    }

    public bool TryRestart()
    {
        using Visit visit = new(this, nameof(TryRestart));
        Restarts++;
        Require(_held.Count == 0, "TryRestart while the device has a batch");
        Capacity = CapacityAfterRestart ?? Capacity;
        return CapacityAfterRestart is not null;
    }

    public void Service()
    {
        Services++;
        OnService?.Invoke();
    }

    public uint Deflate(uint pages) => OnDeflate(pages);

    public bool TryClose(TimeSpan bound)
    {
        Note(bound);
        CloseCalls++;
        return Closes;
    }

    public void Dispose()
    {
    }

    /// <summary>Seams with this balloon and no worker: the test calls <see cref="Aerator.Pass"/>.</summary>
    public TreatmentSeams Seams(bool hasWorker = false) => new((_, _) => this, hasWorker, WatchesMemory);

    private void Note(TimeSpan wait) => LongestWait = wait > LongestWait ? wait : LongestWait;

    private void Require(bool holds, string breach)
    {
        if (!holds)
        {
            lock (_guard)
            {
                _violations.Add(breach);
            }
        }
    }

    /// <summary>One call from beginning to end; two at once are a breach.</summary>
    private readonly ref struct Visit
    {
        private readonly FakeBalloon _balloon;

        public Visit(FakeBalloon balloon, string call)
        {
            _balloon = balloon;
            balloon.Require(Interlocked.Increment(ref balloon._inside) == 1, call + " while another call is inside the device");
        }

        public void Dispose() => Interlocked.Decrement(ref _balloon._inside);
    }
}
