using System;

namespace LowLevel.Interop.Balloon;

/// <summary>Collects ranges and gives them back sorted, with those that touch or overlap made one: fewer calls to the system,
/// and whole huge pages where their parts came one by one. One object is filled again and again.</summary>
internal sealed class RangeJoiner
{
    private readonly GuestRange[] _ranges;
    private int _count;

    /// <summary>Room for so many ranges.</summary>
    public RangeJoiner(int capacity)
    {
        _ranges = new GuestRange[capacity];
    }

    /// <summary>Whether no range was added.</summary>
    public bool IsEmpty => _count == 0;

    /// <summary>Adds a range that does not wrap; one that continues the last is joined to it at once.</summary>
    public void Add(GuestRange range)
    {
        if (_count > 0 && _ranges[_count - 1].End == range.Address)
        {
            _ranges[_count - 1] = new GuestRange(_ranges[_count - 1].Address, _ranges[_count - 1].Bytes + range.Bytes);
            return;
        }

        _ranges[_count++] = range;
    }

    /// <summary>The joined ranges by address; empties the collection. Valid until the next <see cref="Add"/>.</summary>
    public ReadOnlySpan<GuestRange> Take()
    {
        Span<GuestRange> ranges = _ranges.AsSpan(0, _count);
        _count = 0;
        ranges.Sort();
        int joined = 0;
        for (int i = 0; i < ranges.Length; i++)
        {
            if (joined > 0 && ranges[i].Address <= ranges[joined - 1].End)
            {
                ulong start = ranges[joined - 1].Address;
                ranges[joined - 1] = new GuestRange(start, Math.Max(ranges[joined - 1].End, ranges[i].End) - start);
            }
            else
            {
                ranges[joined++] = ranges[i];
            }
        }

        return ranges[..joined];
    }
}
