using System;
using System.Collections.Generic;
using System.Threading;
using LowLevel.Interop.Linux;

namespace LowLevel.Tests.Fakes;

/// <summary>The calls of <see cref="IOperatingSystem"/>.</summary>
internal enum SystemCall
{
    MapAnonymous,
    MapShared,
    Unmap,
    Protect,
    Advise,
    AdviseMany,
    NameMapping,
    CreateMemfd,
    PunchHole,
    Close,
}

/// <summary>One call as it was made. <paramref name="Address"/> is the offset for PunchHole and 0 for CreateMemfd and Close; of
/// AdviseMany it is the first range's, and <paramref name="Bytes"/> the sum.</summary>
internal readonly record struct RecordedCall(SystemCall Call, nint Address, nuint Bytes, MemoryAdvice Advice, Errno Result);

/// <summary>Another operating system with faults: records every call and makes a chosen one fail, without passing it on. The
/// facts about the machine may be replaced. Thread-safe.</summary>
internal sealed class FaultyOperatingSystem(IOperatingSystem inner) : IOperatingSystem
{
    private readonly Lock _guard = new();
    private readonly List<RecordedCall> _calls = [];
    private readonly List<Fault> _faults = [];
    private int[]? _nodes;
    private ulong? _limit;
    private bool _limitIsReplaced;
    private int _memoryReadings;

    public FaultyOperatingSystem()
        : this(LinuxSystem.Instance)
    {
    }

    public int PageSize { get; set; } = inner.PageSize;

    public ulong PhysicalMemoryBytes { get; set; } = inner.PhysicalMemoryBytes;

    public ulong? CgroupMemoryLimitBytes
    {
        get => _limitIsReplaced ? _limit : inner.CgroupMemoryLimitBytes;
        set => (_limit, _limitIsReplaced) = (value, true);
    }

    /// <summary>Null: the machine's own answer.</summary>
    public Func<MemoryReading>? Memory { get; set; }

    /// <summary>How often memory was looked at.</summary>
    public int MemoryReadings => Volatile.Read(ref _memoryReadings);

    public HugePageMode HugePageMode { get; set; } = inner.HugePageMode;

    public ReadOnlySpan<int> MemoryNodes => _nodes ?? inner.MemoryNodes;

    /// <summary>Null: the machine's own answer.</summary>
    public Func<int>? NodeOfCaller { get; set; }

    public int CurrentNode => NodeOfCaller?.Invoke() ?? inner.CurrentNode;

    /// <summary>Runs in the calling thread before each call, outside any lock; it may block (a slow host) or free memory.</summary>
    public Action<SystemCall, nint, nuint>? Before { get; set; }

    /// <summary>Everything called so far, in order.</summary>
    public IReadOnlyList<RecordedCall> Calls
    {
        get
        {
            lock (_guard)
            {
                return [.. _calls];
            }
        }
    }

    public MemoryReading ReadMemory()
    {
        Interlocked.Increment(ref _memoryReadings);
        return Memory?.Invoke() ?? inner.ReadMemory();
    }

    public void SetMemoryNodes(params int[] value) => _nodes = value;

    public int Count(SystemCall call)
    {
        lock (_guard)
        {
            return _calls.FindAll(c => c.Call == call).Count;
        }
    }

    /// <summary>The <paramref name="nth"/> use of the call from now on (1: the next) fails; with <paramref name="times"/> also those
    /// after it. <paramref name="advice"/> narrows to one kind of Advise.</summary>
    public void Fail(SystemCall call, Errno errno, int nth = 1, int times = 1, MemoryAdvice? advice = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(nth, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(times, 1);
        if (errno == Errno.None)
        {
            throw new ArgumentException("None is no failure; allowed: any other errno", nameof(errno));
        }

        lock (_guard)
        {
            _faults.Add(new Fault { Call = call, Advice = advice, Errno = errno, Skip = nth - 1, Left = times });
        }
    }

    /// <summary>Every use from now on fails.</summary>
    public void FailAlways(SystemCall call, Errno errno, MemoryAdvice? advice = null) => Fail(call, errno, 1, int.MaxValue, advice);

    /// <summary>No faults from now on.</summary>
    public void Heal()
    {
        lock (_guard)
        {
            _faults.Clear();
        }
    }

    public Errno MapAnonymous(nuint bytes, MemoryProtection protection, out nint address)
    {
        nint mapped = 0;
        Errno result = Pass(SystemCall.MapAnonymous, 0, bytes, () => inner.MapAnonymous(bytes, protection, out mapped));
        address = mapped;
        return result;
    }

    public Errno MapShared(int fd, ulong offset, nuint bytes, MemoryProtection protection, nint at, out nint address)
    {
        nint mapped = 0;
        Errno result = Pass(SystemCall.MapShared, at, bytes, () => inner.MapShared(fd, offset, bytes, protection, at, out mapped));
        address = mapped;
        return result;
    }

    public Errno Unmap(nint address, nuint bytes) => Pass(SystemCall.Unmap, address, bytes, () => inner.Unmap(address, bytes));

    public Errno Protect(nint address, nuint bytes, MemoryProtection protection) =>
        Pass(SystemCall.Protect, address, bytes, () => inner.Protect(address, bytes, protection));

    public Errno Advise(nint address, nuint bytes, MemoryAdvice advice) =>
        Pass(SystemCall.Advise, address, bytes, () => inner.Advise(address, bytes, advice), advice);

    /// <summary>The most bytes that one AdviseMany does before it stops, wherever that is; null: all.</summary>
    public nuint? AdvisedBytesMax { get; set; }

    /// <summary>Ranges of each AdviseMany so far, in order.</summary>
    public List<AddressRange[]> Vectors { get; } = [];

    public Errno AdviseMany(ReadOnlySpan<AddressRange> ranges, MemoryAdvice advice, out nuint done)
    {
        AddressRange[] asked = ranges.ToArray();
        nuint bytes = 0;
        foreach (AddressRange range in asked)
        {
            bytes += range.Bytes;
        }

        nuint advised = 0;
        lock (_guard)
        {
            Vectors.Add(asked);
        }

        Errno result = Pass(SystemCall.AdviseMany, asked[0].Address, bytes, () => inner.AdviseMany(Shorten(asked), advice, out advised), advice);
        done = advised;
        return result;
    }

    public Errno NameMapping(nint address, nuint bytes, string name) =>
        Pass(SystemCall.NameMapping, address, bytes, () => inner.NameMapping(address, bytes, name));

    public Errno CreateMemfd(string name, nuint bytes, out int fd)
    {
        int made = -1;
        Errno result = Pass(SystemCall.CreateMemfd, 0, bytes, () => inner.CreateMemfd(name, bytes, out made));
        fd = made;
        return result;
    }

    public Errno PunchHole(int fd, ulong offset, nuint bytes) =>
        Pass(SystemCall.PunchHole, (nint)offset, bytes, () => inner.PunchHole(fd, offset, bytes));

    public Errno Close(int fd) => Pass(SystemCall.Close, 0, 0, () => inner.Close(fd));

    private AddressRange[] Shorten(AddressRange[] ranges)
    {
        nuint left = AdvisedBytesMax ?? nuint.MaxValue;
        List<AddressRange> some = [];
        foreach (AddressRange range in ranges)
        {
            nuint bytes = Math.Min(range.Bytes, left);
            left -= bytes;
            if (bytes != 0)
            {
                some.Add(range with { Bytes = bytes });
            }
        }

        return [.. some];
    }

    private Errno Pass(SystemCall call, nint address, nuint bytes, Func<Errno> real, MemoryAdvice advice = default)
    {
        Before?.Invoke(call, address, bytes);
        Errno planned = Planned(call, advice);
        Errno result = planned == Errno.None ? real() : planned;
        lock (_guard)
        {
            _calls.Add(new RecordedCall(call, address, bytes, advice, result));
        }

        return result;
    }

    private Errno Planned(SystemCall call, MemoryAdvice advice)
    {
        lock (_guard)
        {
            Errno result = Errno.None;
            foreach (Fault fault in _faults)
            {
                if (fault.Call != call || (fault.Advice is MemoryAdvice only && only != advice))
                {
                    continue;
                }

                if (fault.Skip > 0)
                {
                    fault.Skip--;
                }
                else if (result == Errno.None && fault.Left > 0)
                {
                    fault.Left -= fault.Left == int.MaxValue ? 0 : 1;
                    result = fault.Errno;
                }
            }

            return result;
        }
    }

    private sealed class Fault
    {
        public required SystemCall Call { get; init; }

        public required MemoryAdvice? Advice { get; init; }

        public required Errno Errno { get; init; }

        public required int Skip { get; set; }

        public required int Left { get; set; }
    }
}
