using System.Diagnostics;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>Who allocated a block and who freed it, as far as that is still known.</summary>
/// <param name="Address">Its first byte.</param>
/// <param name="AllocatedAt">The stack that allocated it; null where a younger block has taken its place here.</param>
/// <param name="FreedAt">The stack that freed it; null while it is in use.</param>
internal sealed record BlockRecord(nuint Address, StackTrace? AllocatedAt, StackTrace? FreedAt)
{
    /// <summary>Both stacks as text, each with a heading; empty where none is known.</summary>
    public string Stacks => Part("Allocated:", AllocatedAt) + Part("Freed:", FreedAt);

    private static string Part(string heading, StackTrace? stack) => stack is null ? "" : $"\n{heading}\n{stack.ToString().TrimEnd()}";
}

/// <summary>The stacks of debug mode, in bounded memory: a table that is found by the address alone, in which a younger block may take an older
/// one's place. Text is made of them only when it is asked for. Any thread, no lock: a record is whole or not there.</summary>
internal sealed class StackKeeper
{
    /// <summary>Blocks of which stacks are kept, at most.</summary>
    public const int RecordsMax = 8192;

    /// <summary>Frames of a stack, from the caller of the allocator on.</summary>
    public const int FramesMax = 20;

    private const int IndexBits = 13; // 2^13 records
    private const int OwnFrames = 2; // Capture, and the method here that calls it

    private readonly BlockRecord?[] _records = new BlockRecord?[RecordsMax];

    /// <summary>The calling thread has allocated a block.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Allocated(nuint address) => Volatile.Write(ref Slot(address), new BlockRecord(address, Capture(), null));

    /// <summary>The calling thread frees a block.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public BlockRecord Freed(nuint address)
    {
        BlockRecord now = new(address, Find(address)?.AllocatedAt, Capture());
        Volatile.Write(ref Slot(address), now);
        return now;
    }

    /// <summary>What is known of a block; null where that is nothing.</summary>
    public BlockRecord? Find(nuint address) => Volatile.Read(ref Slot(address)) is BlockRecord found && found.Address == address ? found : null;

    /// <summary>The stacks for a message about this address; empty where none is known.</summary>
    public string Describe(nuint address) => Find(address)?.Stacks ?? "";

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static StackTrace Capture()
    {
        StackTrace whole = new(OwnFrames, fNeedFileInfo: false);
        return whole.FrameCount <= FramesMax ? whole : new StackTrace(whole.GetFrames().Take(FramesMax));
    }

    /// <summary>Heads lie at multiples of 16: what is above is spread by Fibonacci hashing.</summary>
    private ref BlockRecord? Slot(nuint address) => ref _records[unchecked((address >> 4) * 0x9E37_79B9_7F4A_7C15ul) >> (64 - IndexBits)];
}
