namespace LowLevel.Allocator;

/// <summary>The free-list shuffle: a freed block of order 10 goes to head or tail by a random bit (mm/shuffle.c). One per zone,
/// under its lock, from an injected seed, so that a run can be repeated. (The series refilled its bits one draw too late: 1 in 65
/// draws was always "head". Here the word is refilled when, and only when, it is used up.)</summary>
internal sealed class Shuffle
{
    private ulong _state;
    private ulong _bits;
    private int _left;

    public Shuffle(ulong seed) => _state = seed;

    /// <summary>The next random bit (SplitMix64, Steele et al. 2014, taken 64 bits at a time).</summary>
    public bool NextBit()
    {
        if (_left == 0)
        {
            _bits = NextWord();
            _left = 64;
        }

        bool bit = (_bits & 1) != 0;
        _bits >>= 1;
        _left--;
        return bit;
    }

    private ulong NextWord()
    {
        unchecked
        {
            _state += 0x9E3779B97F4A7C15;
            ulong z = _state;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }
}
