using System;

namespace LowLevel.Perf;

/// <summary>What a ring has shown of the code under attack: pairs of outcomes that followed each other (a fault, a count, a status), each a bit; and,
/// where the assemblies were instrumented, the branches that were taken. A ring that shows what none has shown before is worth keeping.</summary>
internal sealed class FuzzMap
{
    private const int Bits = 1 << 16;
    private const int TouchedMax = 512;

    private readonly ulong[] _seen = new ulong[Bits / 64];
    private readonly int[] _touched = new int[TouchedMax];
    private readonly BranchTrace? _branches;
    private int _count;
    private uint _last;

    /// <summary>A map that has seen nothing.</summary>
    /// <param name="branches">Of instrumented assemblies; null: outcomes alone.</param>
    public FuzzMap(BranchTrace? branches = null) => _branches = branches;

    /// <summary>Outcomes, and branches with their counts, that were seen.</summary>
    public int Seen { get; private set; }

    /// <summary>Takes note of an outcome.</summary>
    /// <param name="site">Where, a small number.</param>
    /// <param name="outcome">What; any value of few.</param>
    public void Note(int site, int outcome)
    {
        uint now = unchecked((uint)((site * 0x9E3779B1) ^ (outcome * 0x85EBCA6B)));
        now ^= now >> 15;
        uint pair = unchecked((_last * 31) + now);
        pair ^= pair >> 16;
        _last = now;
        if (_count < TouchedMax)
        {
            _touched[_count++] = (int)(pair % Bits);
        }
    }

    /// <summary>Before a ring.</summary>
    public void Begin()
    {
        _count = 0;
        _last = 0;
        _branches?.Begin();
    }

    /// <summary>After a ring: whether it has shown anything new. From then on that is old.</summary>
    public bool End()
    {
        int before = Seen;
        for (int i = 0; i < _count; i++)
        {
            ref ulong word = ref _seen[_touched[i] / 64];
            ulong bit = 1ul << (_touched[i] % 64);
            Seen += (word & bit) == 0 ? 1 : 0;
            word |= bit;
        }

        Seen += _branches?.End() ?? 0;
        return Seen != before;
    }

    /// <summary>Forgets what was seen.</summary>
    public void Forget()
    {
        Array.Clear(_seen);
        _branches?.Forget();
        Seen = 0;
    }
}
