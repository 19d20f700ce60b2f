namespace LowLevel.Perf;

/// <summary>SplitMix64 (Steele, Lea, Flood 2014): a load's random numbers, the same from the same seed on every runtime.</summary>
internal struct SplitMix(ulong seed)
{
    private ulong _state = seed;

    public ulong Next()
    {
        unchecked
        {
            ulong z = _state += 0x9E3779B97F4A7C15;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }

    /// <summary>0 to <paramref name="bound"/> - 1.</summary>
    public int Below(int bound) => (int)(((Next() >> 32) * (ulong)bound) >> 32);

    /// <summary>0 inclusive to 1 exclusive.</summary>
    public double Fraction() => (Next() >> 11) * (1.0 / (1UL << 53));
}
