using System;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;

namespace LowLevel.Perf;

/// <summary>The device's side of <c>perf ring</c> in a process of its own. It gets the ring's file and events over a socket, and the mode word by
/// word.</summary>
internal sealed class RingChildCommand : ICommand
{
    public string Name => "ring-child";

    public string Summary => "the device's side of ring";

    public int Run(Arguments arguments)
    {
        string path = arguments.Text("socket") ?? throw new UsageException("option --socket is missing; allowed: a path");
        arguments.End();
        using var socket = UnixSockets.TryConnect(path, out string? why) ?? throw new MeasurementException(why!);
        int[] files = new int[IDescriptors.FilesMax];
        Span<byte> word = stackalloc byte[1];
        LinuxDescriptors.Instance.Poll([new PollEntry((int)socket.Handle)], -1, out _);
        LinuxDescriptors.Instance.Receive((int)socket.Handle, word, files, out _, out int count);
        if (count != 3)
        {
            throw new MeasurementException($"{count} files came over the socket instead of 3");
        }

        using RingMemory memory = RingMemory.Open(files[0], files[1], files[2]);
        string? line;
        while ((line = Console.In.ReadLine()) is not null && Enum.TryParse(line, out RingMode mode))
        {
            ChildSide.Say("ready");
            RingLoops.Device(memory, mode);
            ChildSide.Say("done");
        }

        return Program.Success;
    }
}
