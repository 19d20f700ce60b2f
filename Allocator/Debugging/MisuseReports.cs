using System;
using System.Collections.Generic;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>What debug mode has found out and nobody was told yet. It is found wherever a block happens to leave the quarantine, which may be in
/// the middle of somebody's allocation; it is told at the end of the next free, Trim or Verify, when nothing is half done.</summary>
internal sealed class MisuseReports
{
    private const int TextsMax = 8;

    private readonly Lock _lock = new();
    private readonly List<string> _texts = [];
    private int _count;

    /// <summary>Something was found. Of very many at once the first ones are told in full.</summary>
    public void Add(string text)
    {
        lock (_lock)
        {
            if (_count < TextsMax)
            {
                _texts.Add(text);
            }

            Volatile.Write(ref _count, _count + 1);
        }
    }

    /// <summary>Tells what there is, once.</summary>
    /// <exception cref="InvalidOperationException">Something was found.</exception>
    public void ThrowIfAny()
    {
        if (Volatile.Read(ref _count) == 0)
        {
            return;
        }

        string all;
        lock (_lock)
        {
            if (_count == 0)
            {
                return; // another thread has told it
            }

            all = string.Join("\n", _texts) + (_count > _texts.Count ? $"\n(and {_count - _texts.Count} more)" : "");
            _texts.Clear();
            Volatile.Write(ref _count, 0);
        }

        throw new InvalidOperationException(all);
    }
}
