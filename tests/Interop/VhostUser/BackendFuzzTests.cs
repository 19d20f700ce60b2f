using System;
using System.Collections.Generic;
using System.Linq;
using CsCheck;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>Frontends without sense: sequences that begin well and go wrong anywhere. Whatever comes, the backend goes on or ends with a reason;
/// it never crashes, hangs, or keeps anything. A failure prints its seed and the steps.</summary>
public sealed class BackendFuzzTests
{
    private const int StepsMax = 60;
    private const int Sequences = 400;

    private static readonly uint[] s_requests = [.. Enum.GetValues<VhostUserRequest>().Select(one => (uint)one), 0, 19, 31, 32, 41, uint.MaxValue];

    private static readonly ulong[] s_numbers =
    [
        0, 1, 2, 4, 5, 8, 63, 255, 256, 257, 1024, 4096, 65535, 65536, int.MaxValue, 1ul << 30, 1ul << 31, uint.MaxValue, 1ul << 32, 1ul << 62,
        long.MaxValue, 1ul << 63, ulong.MaxValue - 4095, ulong.MaxValue, ScriptedFrontend.UserBase, ScriptedFrontend.GuestBase,
        ScriptedFrontend.UserBase + ScriptedFrontend.Bytes - 8, ScriptedFrontend.Bytes,
    ];

    private enum Kind
    {
        /// <summary>The next of the messages that a frontend with sense would send.</summary>
        Next,

        /// <summary>Any of them, out of order.</summary>
        Any,

        /// <summary>One of them with a word of its payload replaced.</summary>
        Changed,

        /// <summary>One of them cut short or made longer.</summary>
        Resized,

        /// <summary>A request with words that mean nothing.</summary>
        Noise,

        /// <summary>A word of the rings' memory changes.</summary>
        Scribble,

        /// <summary>A ring is kicked.</summary>
        Kick,

        /// <summary>Bytes that are no message.</summary>
        Bytes,
    }

    [Fact]
    public void Whatever_a_frontend_says_the_backend_goes_on_or_ends_with_a_reason() =>
        Steps.Sample(Run, iter: Sequences, threads: 1, print: static steps => string.Join(", ", steps));

    private static Gen<Step[]> Steps { get; } =
        Gen.Select(Gen.Int[0, 99], Gen.Int[0, 1 << 20], Gen.Int[0, 1 << 20], Gen.Int[0, 1 << 20])
            .Select((kind, a, b, c) => new Step(KindOf(kind), a, b, c))
            .Array[1, StepsMax];

    private static Kind KindOf(int number) => number switch
    {
        < 60 => Kind.Next,
        < 72 => Kind.Any,
        < 78 => Kind.Changed,
        < 80 => Kind.Resized,
        < 82 => Kind.Noise,
        < 90 => Kind.Scribble,
        < 99 => Kind.Kick,
        _ => Kind.Bytes,
    };

    private static void Run(Step[] steps)
    {
        using ScriptedFrontend front = new();
        using FrontRing stats = new(front, BalloonLimits.StatsQueue);
        using FrontRing reports = new(front, BalloonLimits.ReportingQueue);
        FrontRing[] rings = [stats, reports];
        List<Said> sane = Sane(front, rings);
        int next = 0;
        foreach (Step step in steps)
        {
            Said said = sane[step.Kind == Kind.Next ? next++ % sane.Count : step.A % sane.Count];
            switch (step.Kind)
            {
                case Kind.Next or Kind.Any:
                    Send(front, said.Request, said.Payload, said.Files, step);
                    break;
                case Kind.Changed:
                    byte[] changed = [.. said.Payload];
                    BitConverter.GetBytes(s_numbers[step.C % s_numbers.Length]).AsSpan(0, Math.Min(8, changed.Length))
                        .CopyTo(changed.AsSpan(step.B % Math.Max(1, changed.Length - 7)));
                    Send(front, said.Request, changed, said.Files, step);
                    break;
                case Kind.Resized:
                    byte[] resized = [.. said.Payload, .. new byte[step.C % 64]];
                    Send(front, said.Request, resized[..(step.B % (resized.Length + 1))], [.. said.Files, .. said.Files], step);
                    break;
                case Kind.Noise:
                    byte[] noise = [.. s_numbers.Skip(step.C % s_numbers.Length).SelectMany(BitConverter.GetBytes).Take(step.B % 80)];
                    Send(front, s_requests[step.A % s_requests.Length], noise, [.. sane.SelectMany(one => one.Files).Take(step.B % 9)], step);
                    break;
                case Kind.Scribble:
                    Scribble(front, rings[step.A % 2], step);
                    break;
                case Kind.Kick:
                    rings[step.A % 2].Report((ulong)(step.B % 128), 1 + (uint)(step.C % 64));
                    LinuxDescriptors.Instance.Signal(rings[step.A % 2].Kick);
                    rings[step.A % 2].Driver.Clear();
                    break;
                default:
                    LinuxDescriptors.Instance.Send(front.Socket.Descriptor, BitConverter.GetBytes(s_numbers[step.A % s_numbers.Length]), [], out _);
                    break;
            }

            // What it answers is read now and then, so that it is not stopped by that alone.
            while (front.Socket.TryReceive() == ReceiveResult.Message)
            {
            }
        }

        front.HangUp();
        Assert.NotNull(front.End());
        front.AssertNothingIsLeft();
    }

    private static void Send(ScriptedFrontend front, uint request, byte[] payload, int[] files, Step step)
    {
        VhostUserFlags flags = step.B % 3 == 0 ? VhostUserFlags.NeedReply : 0;
        front.Socket.Send(request, flags, payload, files.AsSpan(0, Math.Min(files.Length, IDescriptors.FilesMax)));
    }

    private static List<Said> Sane(ScriptedFrontend front, FrontRing[] rings)
    {
        List<Said> sane =
        [
            new(VhostUserRequest.GetFeatures, []),
            new(VhostUserRequest.GetProtocolFeatures, []),
            new(VhostUserRequest.SetProtocolFeatures, ScriptedFrontend.BytesOf((ulong)VhostUserBackend.Offered)),
            new(VhostUserRequest.SetOwner, []),
            new(VhostUserRequest.SetFeatures, ScriptedFrontend.BytesOf(
                (ulong)(Feature.Version1 | Feature.PageReporting | Feature.StatsQueue | Feature.IndirectDescriptors | VhostUserBackend.ProtocolFeaturesBit))),
            new(VhostUserRequest.SetMemoryTable, ScriptedFrontend.Table(ScriptedFrontend.Region), front.Memory.File),
        ];
        foreach (FrontRing ring in rings)
        {
            sane.Add(new(VhostUserRequest.SetVringNum, ScriptedFrontend.BytesOf(ScriptedFrontend.State(ring.Queue, (uint)ring.Size))));
            sane.Add(new(VhostUserRequest.SetVringBase, ScriptedFrontend.BytesOf(ScriptedFrontend.State(ring.Queue, 0))));
            sane.Add(new(VhostUserRequest.SetVringAddress, ScriptedFrontend.BytesOf(ring.Address)));
            sane.Add(new(VhostUserRequest.SetVringCall, ScriptedFrontend.BytesOf((ulong)ring.Queue), ring.Call));
            sane.Add(new(VhostUserRequest.SetVringKick, ScriptedFrontend.BytesOf((ulong)ring.Queue), ring.Kick));
            sane.Add(new(VhostUserRequest.SetVringEnable, ScriptedFrontend.BytesOf(ScriptedFrontend.State(ring.Queue, 1))));
        }

        sane.Add(new(VhostUserRequest.GetConfig, ScriptedFrontend.BytesOf(new VhostUserConfigHeader { Size = 16 })));
        sane.Add(new(VhostUserRequest.SetConfig, [.. ScriptedFrontend.BytesOf(new VhostUserConfigHeader { Size = 16 }), .. new byte[16]]));
        sane.Add(new(VhostUserRequest.GetVringBase, ScriptedFrontend.BytesOf(ScriptedFrontend.State(rings[1].Queue, 0))));
        sane.Add(new(VhostUserRequest.SetBackendChannel, [], front.Socket.Descriptor));
        sane.Add(new(VhostUserRequest.ResetDevice, []));
        return sane;
    }

    /// <summary>The first words of a ring's parts, which everything hangs on.</summary>
    private static unsafe void Scribble(ScriptedFrontend front, FrontRing ring, Step step)
    {
        ulong part = (step.B % 3) switch { 0 => ring.Layout.Descriptors, 1 => ring.Layout.Available, _ => ring.Layout.Used };
        ushort* words = (ushort*)(front.Memory.Mapping + (nint)part);
        words[step.C % 16] = (ushort)(s_numbers[step.A % s_numbers.Length] & ushort.MaxValue);
    }

    private readonly record struct Step(Kind Kind, int A, int B, int C);

    private sealed record Said(uint Request, byte[] Payload, params int[] Files)
    {
        public Said(VhostUserRequest request, byte[] payload, params int[] files)
            : this((uint)request, payload, files)
        {
        }
    }
}
