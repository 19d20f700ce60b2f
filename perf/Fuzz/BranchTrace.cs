using System;
using System.IO;
using System.Numerics;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;

namespace LowLevel.Perf;

/// <summary>The branches that instrumented assemblies take. <c>sharpfuzz LowLevel.Interop.dll</c> (NuGet SharpFuzz.CommandLine) rewrites an assembly
/// so that each branch counts itself in 64 KiB of memory; SharpFuzz.Common.dll, which comes with that tool, has to lie beside it. This program finds
/// out at run time and otherwise does without, so that it needs no package.</summary>
internal sealed class BranchTrace
{
    private const int Bytes = 1 << 16;

    private readonly nint _counts;
    private readonly byte[] _seen = new byte[Bytes];

    private BranchTrace(nint counts) => _counts = counts;

    /// <summary>The trace of this process; null where no assembly is instrumented.</summary>
    public static unsafe BranchTrace? Find()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "SharpFuzz.Common.dll");
        FieldInfo? field = File.Exists(path)
            ? AssemblyLoadContext.Default.LoadFromAssemblyPath(path).GetType("SharpFuzz.Common.Trace")?.GetField("SharedMem")
            : null;
        if (field is null)
        {
            return null;
        }

        // Sound: as much memory as the instrumented code writes (an index of 16 bits), and it is never freed.
        byte* counts = (byte*)NativeMemory.AllocZeroed(Bytes);
        field.SetValue(null, Pointer.Box(counts, typeof(byte*)));
        return new BranchTrace((nint)counts);
    }

    /// <summary>Before a ring.</summary>
    public void Begin() => Counts.Clear();

    /// <summary>After a ring: how many branches were taken as often as never before (once, twice, 3 to 4, 5 to 8 times, ...).</summary>
    public int End()
    {
        int fresh = 0;
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(Counts);
        for (int i = 0; i < words.Length; i++)
        {
            if (words[i] != 0)
            {
                fresh += Judge(i * sizeof(ulong));
            }
        }

        return fresh;
    }

    /// <summary>Forgets what was seen.</summary>
    public void Forget() => Array.Clear(_seen);

    private unsafe Span<byte> Counts => new((void*)_counts, Bytes);

    private int Judge(int first)
    {
        int fresh = 0;
        for (int i = first; i < first + sizeof(ulong); i++)
        {
            byte count = Counts[i];
            byte bucket = count == 0 ? (byte)0 : (byte)(1 << BitOperations.Log2((uint)count));
            fresh += (bucket & ~_seen[i]) != 0 ? 1 : 0;
            _seen[i] |= bucket;
        }

        return fresh;
    }
}
