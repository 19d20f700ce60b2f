using System;
using System.Collections.Generic;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>What a balloon device has to do with what stands on its rings, page by page: a set of at most 64 pages for each request.</summary>
internal sealed class BalloonDeviceModel(FuzzMemory memory, RingView[] views)
{
    private const ulong Page = 4096;

    private readonly ushort[] _next = new ushort[views.Length];
    private readonly bool[] _runs = new bool[views.Length];
    private readonly bool[] _isElsewhere = new bool[views.Length];
    private readonly List<ulong> _expected = [];
    private readonly List<ulong> _dropped = [];
    private BalloonDeviceOptions _options = new();
    private bool _countsOnly;

    /// <summary>Something changed while the device worked: what it does is no longer known.</summary>
    public bool IsLost { get; set; }

    /// <summary>Calls of the last service that dropped something.</summary>
    public int Calls => _dropped.Count;

    public void Begin(BalloonDeviceOptions options, bool countsOnly)
    {
        (_options, _countsOnly) = (options, countsOnly);
        Stop();
    }

    public void Stop()
    {
        Array.Clear(_runs);
        Array.Clear(_next);
        Array.Clear(_isElsewhere);
        IsLost = false;
    }

    /// <summary>A queue was set up.</summary>
    public void Start(int queue, bool isHere)
    {
        (_runs[queue], _next[queue], _isElsewhere[queue]) = (true, 0, !isHere);
    }

    /// <summary>What a service of a queue will find, and drop.</summary>
    public ChainFault Foretell(int queue, bool isLive, Feature features, uint poison)
    {
        _expected.Clear();
        _dropped.Clear();
        if (!isLive || !_runs[queue] || IsLost)
        {
            return ChainFault.None;
        }

        if (_isElsewhere[queue])
        {
            // A ring that lies somewhere else may lie on another's.
            IsLost = true;
            return ChainFault.None;
        }

        RingView view = views[queue];
        while (view.AvailableIndex != _next[queue])
        {
            ChainFault fault = view.Walk(_next[queue], (features & Feature.IndirectDescriptors) != 0);
            if (fault != ChainFault.None)
            {
                return fault;
            }

            RingView.Advance(ref _next[queue]);
            bool keeps = (features & Feature.PagePoison) != 0 && poison != 0;
            ulong pages = queue switch
            {
                BalloonLimits.InflateQueue => Numbers(view.Found),
                BalloonLimits.ReportingQueue when keeps => 0,
                BalloonLimits.ReportingQueue => _options.Dialect == ReportDialect.Hints ? Hints(view.Found) : Blocks(view.Found),
                _ => 0,
            };
            if (pages != 0 && !_countsOnly)
            {
                _expected.Add(pages);
            }
        }

        return ChainFault.None;
    }

    /// <summary>The device drops.</summary>
    public void Dropped(ReadOnlySpan<GuestRange> ranges)
    {
        ulong pages = 0;
        foreach (GuestRange range in ranges)
        {
            ulong these = Set(range.Address / Page, range.Bytes / Page);
            FuzzFinding.Require((pages & these) == 0, $"{range} overlaps another of the same call");
            pages |= these;
        }

        _dropped.Add(pages);
    }

    /// <summary>What was dropped is what was asked for, request by request.</summary>
    public void Compare()
    {
        FuzzFinding.Require(_dropped.Count == _expected.Count, $"{_dropped.Count} requests dropped something, {_expected.Count} asked for it");
        for (int i = 0; i < _dropped.Count; i++)
        {
            FuzzFinding.Require(_dropped[i] == _expected[i], $"request {i}: pages {_dropped[i]:x} dropped, {_expected[i]:x} asked for");
        }
    }

    private static ulong Set(ulong first, ulong count) => count >= 64 ? ulong.MaxValue << (int)first : ((1ul << (int)count) - 1) << (int)first;

    private ulong Pages(ulong address, ulong bytes)
    {
        bool isWhole = address % Page == 0 && bytes % Page == 0 && bytes != 0;
        bool isGuests = address < BalloonDeviceTarget.ArenaPages * Page && bytes <= (BalloonDeviceTarget.ArenaPages * Page) - address;
        return isWhole && isGuests && (_countsOnly || memory.TryFind(address, bytes, out _)) ? Set(address / Page, bytes / Page) : 0;
    }

    private ulong Blocks(List<RingView.Buffer> buffers)
    {
        ulong pages = 0;
        for (int i = 0; i < Math.Min(buffers.Count, _options.ReportCapacity); i++)
        {
            pages |= buffers[i].Writes ? Pages(buffers[i].Address, buffers[i].Length) : 0;
        }

        return pages;
    }

    private ulong Numbers(List<RingView.Buffer> buffers)
    {
        ulong pages = 0;
        foreach (uint number in Words(buffers, 4096, 4))
        {
            pages |= Pages((ulong)number * Page, Page);
        }

        return pages;
    }

    private ulong Hints(List<RingView.Buffer> buffers)
    {
        ulong pages = 0;
        uint[] words = [.. Words(buffers, (ulong)_options.ReportCapacity * 8, 8)];
        for (int i = 0; i + 1 < words.Length; i += 2)
        {
            pages |= Pages((ulong)words[i] * Page, (ulong)words[i + 1] * Page);
        }

        return pages;
    }

    /// <summary>What the readable buffers say, as words; nothing where there are writable ones, too many bytes, or a part of an entry.</summary>
    private List<uint> Words(List<RingView.Buffer> buffers, ulong bytesMax, ulong entry)
    {
        ulong bytes = 0;
        foreach (RingView.Buffer buffer in buffers)
        {
            if (buffer.Writes)
            {
                return [];
            }

            bytes += buffer.Length;
        }

        List<uint> words = [];
        if (bytes > bytesMax || bytes % entry != 0)
        {
            return words;
        }

        uint word = 0;
        int filled = 0;
        foreach (RingView.Buffer buffer in buffers)
        {
            for (ulong i = 0; i < buffer.Length; i++)
            {
                word |= (uint)Byte(buffer.Address + i) << (8 * filled++);
                if (filled == 4)
                {
                    words.Add(word);
                    (word, filled) = (0, 0);
                }
            }
        }

        return words;
    }

    private unsafe byte Byte(ulong address)
    {
        // Sound: the input's view of a part that holds the address.
        return memory.TryFind(address, 1, out FuzzMemory.Part part) ? *(byte*)(part.Input + (nint)(address - part.Address)) : (byte)0;
    }
}
