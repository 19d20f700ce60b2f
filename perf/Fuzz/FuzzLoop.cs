using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;

namespace LowLevel.Perf;

/// <summary>What a loop has done.</summary>
/// <param name="Target">Its name.</param>
/// <param name="Rings">Inputs played.</param>
/// <param name="Seconds">Time.</param>
/// <param name="Corpus">Inputs that are kept.</param>
/// <param name="Seen">Outcomes and branches that were seen.</param>
/// <param name="Finding">What went wrong; null: nothing.</param>
/// <param name="Inputs">The inputs that lead there, from the beginning of a life.</param>
internal sealed record FuzzResult(string Target, long Rings, double Seconds, int Corpus, int Seen, string? Finding, IReadOnlyList<byte[]> Inputs);

/// <summary>Plays inputs against a target until something is wrong or enough is done: each input is made from those that have shown something new,
/// which are kept. The same seed and corpus give the same inputs.</summary>
internal sealed class FuzzLoop
{
    private const int RingsPerLook = 1024;
    private const int ShorteningsMax = 20_000;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly IFuzzTarget _target;
    private readonly FuzzMap _map;
    private readonly List<byte[]> _corpus = [];
    private readonly List<byte[]> _life = [];
    private readonly byte[] _buffer;
    private readonly Action<ReadOnlySpan<byte>>? _before;
    private long _rings;
    private int _length;
    private int _toLive;
    private int _shortenings;
    private bool _hasGivenUp;

    /// <summary>A loop that has done nothing yet.</summary>
    /// <param name="target">What is attacked.</param>
    /// <param name="map">What was seen.</param>
    /// <param name="before">Called before each ring, so that an input that ends the process is left somewhere.</param>
    public FuzzLoop(IFuzzTarget target, FuzzMap map, Action<ReadOnlySpan<byte>>? before = null)
    {
        _target = target;
        _map = map;
        _before = before;
        _buffer = new byte[target.InputMax];
    }

    /// <summary>What was worth keeping.</summary>
    public IReadOnlyList<byte[]> Corpus => _corpus;

    /// <summary>Called every so often with the rings so far.</summary>
    public Action<long>? Progress { get; set; }

    /// <summary>Plays given inputs, then made ones.</summary>
    /// <param name="given">Played first.</param>
    /// <param name="rings">Of made inputs; at most.</param>
    /// <param name="time">For made inputs; null: as long as it takes.</param>
    /// <param name="seed">Of made inputs.</param>
    public FuzzResult Run(IEnumerable<byte[]> given, long rings, TimeSpan? time, ulong seed)
    {
        var watch = Stopwatch.StartNew();
        using var hang = new Timer(Watch, new Hang(), s_patience, s_patience);
        string? finding = null;
        try
        {
            foreach (byte[] input in given)
            {
                input.AsSpan(0, Math.Min(input.Length, _buffer.Length)).CopyTo(_buffer);
                _toLive = 0; // each in a life of its own
                Play(Math.Min(input.Length, _buffer.Length));
            }

            _toLive = 0;

            var mutator = new FuzzMutator(seed, _target.InputUsual);
            for (long i = 0; i < rings; i++)
            {
                Play(mutator.Next(_corpus, _buffer));
                if (i % RingsPerLook == 0)
                {
                    Progress?.Invoke(_rings);
                    if (watch.Elapsed > time)
                    {
                        break;
                    }
                }
            }
        }
        catch (Exception e)
        {
            _life.Add(_buffer[.._length]);
            finding = e is FuzzFinding ? e.Message : e.ToString();
        }

        double seconds = watch.Elapsed.TotalSeconds;
        return new FuzzResult(_target.Name, _rings, seconds, _corpus.Count, _map.Seen, finding, finding is null ? [] : Shorten());
    }

    /// <summary>Plays inputs as one life; what was wrong, or null.</summary>
    public static string? Replay(IFuzzTarget target, IEnumerable<byte[]> inputs, FuzzMap map)
    {
        try
        {
            target.Renew();
            foreach (byte[] input in inputs)
            {
                map.Begin();
                target.Run(input, map);
                map.End();
            }

            return null;
        }
        catch (Exception e)
        {
            return e is FuzzFinding ? e.Message : e.ToString();
        }
    }

    private void Play(int length)
    {
        _length = length;
        ReadOnlySpan<byte> input = _buffer.AsSpan(0, length);
        if (_toLive-- <= 0)
        {
            _toLive = _target.RingsPerLife - 1;
            _life.Clear();
            _target.Renew();
        }

        _rings++;
        _before?.Invoke(input);
        _map.Begin();
        _target.Run(input, _map);
        if (_map.End())
        {
            _corpus.Add(input.ToArray());
        }

        if (_target.RingsPerLife > 1)
        {
            _life.Add(input.ToArray());
        }
    }

    /// <summary>The last input alone where that does; else as few of its life as do, each as short as it can be cut.</summary>
    private List<byte[]> Shorten()
    {
        List<byte[]> life = [.. _life];
        if (_target is IRacingTarget { IsRacing: true } || !Fails([life[^1]]))
        {
            for (int i = life.Count - 2; i >= 0 && !_hasGivenUp; i--)
            {
                List<byte[]> fewer = [.. life];
                fewer.RemoveAt(i);
                life = Fails(fewer) ? fewer : life;
            }
        }
        else
        {
            life = [life[^1]];
        }

        for (int i = 0; i < life.Count; i++)
        {
            Cut(life, i);
        }

        return life;
    }

    private void Cut(List<byte[]> life, int index)
    {
        for (int step = Math.Max(1, life[index].Length / 2); step >= 1; step /= 2)
        {
            for (int at = 0; at + step <= life[index].Length;)
            {
                byte[] before = life[index];
                life[index] = [.. before.AsSpan(0, at), .. before.AsSpan(at + step)];
                if (life[index].Length == 0 || !Fails(life))
                {
                    life[index] = before;
                    at += step;
                }
            }
        }
    }

    private bool Fails(List<byte[]> life)
    {
        // What cannot be replayed is not shortened for ever.
        _hasGivenUp = _hasGivenUp || _shortenings++ > ShorteningsMax;
        return !_hasGivenUp && Replay(_target, life, new FuzzMap()) is not null;
    }

    /// <summary>A ring that does not end is found by nobody but a clock, which looks for that alone.</summary>
    private void Watch(object? state)
    {
        var hang = (Hang)state!;
        long rings = Volatile.Read(ref _rings);
        if (rings == hang.Rings && rings != 0)
        {
            Environment.FailFast($"{_target.Name}: a ring has not ended within {s_patience.TotalSeconds} s: {Convert.ToHexString(_buffer, 0, _length)}");
        }

        hang.Rings = rings;
    }

    private sealed class Hang
    {
        public long Rings { get; set; } = -1;
    }
}
