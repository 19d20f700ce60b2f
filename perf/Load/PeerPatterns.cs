namespace LowLevel.Perf;

/// <summary>A contestant's way to allocate blocks of one size. Contestants are structs, and so are their blocks: the runtime then compiles the
/// loops of <see cref="PeerPatterns{TPeer, TBlock}"/> anew for each of them, with these calls inlined as in a program that calls
/// the contestant directly. (A block that is a reference would share its code with all others, and the calls would be looked up.)</summary>
internal interface IPeer<TBlock>
    where TBlock : struct
{
    TBlock Allocate();

    void Free(TBlock block);

    /// <summary>Writes one byte of each 4 KiB.</summary>
    void Touch(TBlock block);
}

/// <summary>The loops that are timed, the same for every contestant. Short calls, made many times: so the runtime replaces its first,
/// slow code of a loop by its last, fast one between two calls, without the detour of replacing it while it runs.
/// They are left to tiered compilation with its profile, as a long-running program's own loops are: AggressiveOptimization would
/// compile them once, early, without the profile and before the static fields of contestants are known constants.</summary>
internal static class PeerPatterns<TPeer, TBlock>
    where TPeer : struct, IPeer<TBlock>
    where TBlock : struct
{
    /// <summary>Frees what was just allocated.</summary>
    public static void Lifo(TPeer peer, bool touch, int pairs)
    {
        for (int i = 0; i < pairs; i++)
        {
            TBlock block = peer.Allocate();
            if (touch)
            {
                peer.Touch(block);
            }

            peer.Free(block);
        }
    }

    /// <summary>Fills the array with blocks.</summary>
    public static void Fill(TPeer peer, bool touch, TBlock[] live)
    {
        for (int i = 0; i < live.Length; i++)
        {
            TBlock block = peer.Allocate();
            if (touch)
            {
                peer.Touch(block);
            }

            live[i] = block;
        }
    }

    /// <summary>Frees the array's blocks in the order in which they were allocated.</summary>
    public static void Drain(TPeer peer, TBlock[] live)
    {
        for (int i = 0; i < live.Length; i++)
        {
            peer.Free(live[i]);
            live[i] = default;
        }
    }

    /// <summary>Frees a block of a full array, chosen at random, and allocates another in its place. The random number costs every contestant
    /// the same one or two nanoseconds.</summary>
    public static void Replace(TPeer peer, bool touch, TBlock[] live, ref SplitMix random, int pairs)
    {
        for (int i = 0; i < pairs; i++)
        {
            int at = random.Below(live.Length);
            peer.Free(live[at]);
            TBlock block = peer.Allocate();
            if (touch)
            {
                peer.Touch(block);
            }

            live[at] = block;
        }
    }

    /// <summary>Allocates and hands over.</summary>
    public static void Produce(TPeer peer, bool touch, PeerRing<TBlock> ring, int pairs)
    {
        for (int i = 0; i < pairs; i++)
        {
            TBlock block = peer.Allocate();
            if (touch)
            {
                peer.Touch(block);
            }

            ring.Push(block);
        }
    }

    /// <summary>Frees what was handed over.</summary>
    public static void Consume(TPeer peer, PeerRing<TBlock> ring, int pairs)
    {
        for (int i = 0; i < pairs; i++)
        {
            peer.Free(ring.Pop());
        }
    }
}
